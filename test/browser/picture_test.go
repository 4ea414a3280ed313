// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"testing"
)

// panel is a picture like those of a page: a line and a grid on a panel, and what may be a letter.
func panel(change func(*image.RGBA)) image.Image {
	picture := image.NewRGBA(image.Rect(0, 0, 200, 100))
	fill(picture, picture.Bounds(), color.White)
	for y := 10; y < 100; y += 20 {
		fill(picture, image.Rect(10, y, 190, y+1), color.RGBA{0xdc, 0xdf, 0xe3, 0xff})
	}
	fill(picture, image.Rect(10, 50, 190, 52), color.RGBA{0x37, 0x87, 0x2d, 0xff})
	fill(picture, image.Rect(20, 2, 22, 9), color.Black)
	change(picture)
	return picture
}

func fill(picture *image.RGBA, where image.Rectangle, with color.Color) {
	draw.Draw(picture, where, image.NewUniform(with), image.Point{}, draw.Src)
}

// TestComparedAdmitsShades at edges, and a line that is one pixel away.
func TestComparedAdmitsShades(t *testing.T) {
	same := func(*image.RGBA) {}
	for name, change := range map[string]func(*image.RGBA){
		"the same": same,
		"the edge of a letter": func(p *image.RGBA) {
			fill(p, image.Rect(22, 2, 23, 9), color.Gray{0x70})
			fill(p, image.Rect(20, 2, 21, 9), color.Gray{0x70})
		},
		"a grid line a quarter of a pixel away": func(p *image.RGBA) {
			fill(p, image.Rect(10, 30, 190, 31), color.RGBA{0xe5, 0xe7, 0xea, 0xff})
			fill(p, image.Rect(10, 31, 190, 32), color.RGBA{0xf6, 0xf7, 0xf8, 0xff})
		},
		"another shade": func(p *image.RGBA) {
			fill(p, image.Rect(10, 50, 190, 52), color.RGBA{0x3a, 0x85, 0x30, 0xff})
		},
	} {
		if err := compared(panel(same), panel(change)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestComparedFindsChanges of what a person sees, also if it is faint.
func TestComparedFindsChanges(t *testing.T) {
	for name, change := range map[string]func(*image.RGBA){
		"no grid line": func(p *image.RGBA) { fill(p, image.Rect(10, 30, 190, 31), color.White) },
		"another colour": func(p *image.RGBA) {
			fill(p, image.Rect(10, 50, 190, 52), color.RGBA{0xc4, 0x16, 0x2a, 0xff})
		},
		"a line elsewhere": func(p *image.RGBA) {
			fill(p, image.Rect(10, 50, 190, 52), color.White)
			fill(p, image.Rect(10, 54, 190, 56), color.RGBA{0x37, 0x87, 0x2d, 0xff})
		},
		"an area": func(p *image.RGBA) {
			fill(p, image.Rect(10, 53, 190, 69), color.RGBA{0xee, 0xf5, 0xee, 0xff})
		},
		"another letter": func(p *image.RGBA) { fill(p, image.Rect(24, 2, 28, 9), color.Black) },
	} {
		same := panel(func(*image.RGBA) {})
		if compared(same, panel(change)) == nil || compared(panel(change), same) == nil {
			t.Errorf("%s: no change is found", name)
		}
	}
	if compared(image.NewRGBA(image.Rect(0, 0, 2, 2)), image.NewRGBA(image.Rect(0, 0, 2, 3))) == nil {
		t.Error("another size: no change is found")
	}
}

// TestEncodeKeepsPictures as they are, up to what a comparison admits.
func TestEncodeKeepsPictures(t *testing.T) {
	picture := panel(func(p *image.RGBA) {
		for x := range 64 { // More colours than a palette has, and many that are alike.
			for y := range 6 {
				p.Set(x+40, y, color.RGBA{uint8(100 + x%8), uint8(90 + x/8), uint8(2 * y), 0xff})
			}
		}
	})
	read, err := png.Decode(bytes.NewReader(Encode(t, picture)))
	if err != nil {
		t.Fatal(err)
	}
	if err := compared(picture, read); err != nil {
		t.Error(err)
	}
}
