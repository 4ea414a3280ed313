// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Picture of a part of the page, as large as it is.
func (b *Browser) Picture(selector string) image.Image {
	b.t.Helper()
	box, _ := b.Value(fmt.Sprintf(`(() => {
		const part = document.querySelector(%q).getBoundingClientRect();
		return [part.left + scrollX, part.top + scrollY, part.width, part.height].map(Math.round);
	})()`, selector)).([]any)
	captured := b.Do("Page.captureScreenshot", map[string]any{
		"captureBeyondViewport": true,
		"clip":                  map[string]any{"x": box[0], "y": box[1], "width": box[2], "height": box[3], "scale": 1},
	})
	text, _ := captured["data"].(string)
	drawn, err := png.Decode(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	if err != nil {
		b.t.Fatalf("a picture of %s: %v", selector, err)
	}
	return drawn
}

// Encode a picture as a PNG with the 256 most frequent colours that are not alike, which makes it a
// third as large. What is lost are shades at the edges of letters.
func Encode(t *testing.T, drawn image.Image) []byte {
	t.Helper()
	content := &bytes.Buffer{}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(content, paletted(drawn)); err != nil {
		t.Fatal(err)
	}
	return content.Bytes()
}

func paletted(drawn image.Image) *image.Paletted {
	bounds, frequency := drawn.Bounds(), map[color.Color]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			frequency[drawn.At(x, y)]++
		}
	}
	var palette color.Palette
	for _, colour := range slices.SortedFunc(maps.Keys(frequency), func(a, b color.Color) int {
		return cmp.Or(cmp.Compare(frequency[b], frequency[a]), compare(a, b))
	}) {
		if len(palette) < 256 && !slices.ContainsFunc(palette, func(c color.Color) bool { return alike(c, colour) }) {
			palette = append(palette, colour)
		}
	}
	result, nearest := image.NewPaletted(bounds, palette), map[color.Color]uint8{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			colour := drawn.At(x, y)
			if _, known := nearest[colour]; !known {
				nearest[colour] = uint8(result.Palette.Index(colour))
			}
			result.SetColorIndex(x, y, nearest[colour])
		}
	}
	return result
}

// compare colours, in any order that is always the same.
func compare(a, b color.Color) int {
	first, second := channels(a), channels(b)
	return slices.Compare(first[:], second[:])
}

// alike reports whether nobody sees a difference between two colours.
func alike(a, b color.Color) bool {
	const most = 5
	first, second := channels(a), channels(b)
	for c := range first {
		if max(first[c]-second[c], second[c]-first[c]) > most {
			return false
		}
	}
	return true
}

// channels are red, green and blue, from 0 to 255.
func channels(c color.Color) [3]int {
	r, g, b, _ := c.RGBA()
	return [3]int{int(r >> 8), int(g >> 8), int(b >> 8)}
}

// What a picture may differ by and still show the same: edges of letters and lines that another
// version of the browser draws in other shades, or half a pixel away.
const (
	// shade is the most that a channel may lie outside of what is around it in the other picture.
	shade = 12
	// maxDiffering is how many pixels may do so: fewer than a letter has.
	maxDiffering = 20
)

// Golden compares a picture with a file, which -update writes anew. One that differs is kept.
func Golden(t *testing.T, file string, drawn image.Image, update bool) {
	t.Helper()
	if update {
		if err := os.WriteFile(file, Encode(t, drawn), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	difference := compared(want, drawn)
	if difference == nil {
		return
	}
	kept := filepath.Join(os.TempDir(), "obstack-pictures", filepath.Base(file))
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, Encode(t, drawn), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Errorf("%s shows something else: %v; it is kept as %s; if it is right, make pictures takes it over",
		file, difference, kept)
}

// compared returns an error with what differs in two pictures, if it is more than a browser's
// version may change.
func compared(want, got image.Image) error {
	if want.Bounds().Size() != got.Bounds().Size() {
		return fmt.Errorf("it is %v pixels large, not %v", got.Bounds().Size(), want.Bounds().Size())
	}
	one, other := pixels(want), pixels(got)
	differing, where := 0, image.Rectangle{}
	for y := range one.height {
		for x := range one.width {
			if one.isAround(x, y, other) && other.isAround(x, y, one) {
				continue
			}
			differing++
			where = where.Union(image.Rect(x, y, x+1, y+1))
		}
	}
	if differing > maxDiffering {
		return fmt.Errorf("%d pixels differ, all of them within %v", differing, where)
	}
	return nil
}

// raster is a picture that is read often.
type raster struct {
	width, height int
	colours       [][3]int
}

func pixels(picture image.Image) raster {
	bounds := picture.Bounds()
	r := raster{width: bounds.Dx(), height: bounds.Dy()}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			r.colours = append(r.colours, channels(picture.At(x, y)))
		}
	}
	return r
}

func (r raster) at(x, y int) [3]int { return r.colours[y*r.width+x] }

// isAround reports whether a pixel of another picture lies between what is around it in this one.
func (r raster) isAround(x, y int, other raster) bool {
	of := other.at(x, y)
	lowest, highest := r.at(x, y), r.at(x, y)
	for j := max(y-1, 0); j <= min(y+1, r.height-1); j++ {
		for i := max(x-1, 0); i <= min(x+1, r.width-1); i++ {
			for c, value := range r.at(i, j) {
				lowest[c], highest[c] = min(lowest[c], value), max(highest[c], value)
			}
		}
	}
	for c, value := range of {
		if value < lowest[c]-shade || value > highest[c]+shade {
			return false
		}
	}
	return true
}
