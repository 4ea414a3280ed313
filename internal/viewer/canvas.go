// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode/utf8"
)

type box struct{ x, y, w, h float64 }

// canvas is a drawing in SVG. Its colours are classes, so that they follow the page's theme.
type canvas struct {
	strings.Builder

	location *time.Location
}

// Sizes of letters, in pixels.
const (
	small  = 11
	medium = 12
	title  = 13
	// letter is how wide one is, of its size.
	letter = 0.57
)

// text in a class. All texts of a drawing are written here, and escaped.
func (c *canvas) text(x, y, size float64, class, anchor, text string) {
	fmt.Fprintf(c, `<text class="%s" x="%.1f" y="%.1f" font-size="%.0f" text-anchor="%s">%s</text>`+"\n",
		class, x, y, size, anchor, template.HTMLEscapeString(text))
}

// fitted text is cut where the width ends.
func (c *canvas) fitted(x, y, size, width float64, class, anchor, text string) {
	c.text(x, y, size, class, anchor, fit(text, width, size))
}

// fit cuts a text where a width ends.
func fit(text string, width, size float64) string {
	most := max(int(width/(size*letter)), 1)
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// textWidth is about how wide a text is.
func textWidth(text string, size float64) float64 {
	return float64(utf8.RuneCountInString(text)) * size * letter
}

// colours are Grafana's names, with what each is on a dark and on a light page.
var colours = []struct{ name, dark, light string }{
	{"green", "#73BF69", "#1F7A33"}, {"yellow", "#FADE2A", "#8F6B00"}, {"orange", "#FF9830", "#B34E00"},
	{"red", "#F2495C", "#C4162A"}, {"blue", "#5794F2", "#1F60C4"}, {"purple", "#B877D9", "#8F3BB8"},
	{"light-blue", "#8AB8FF", "#3274D9"}, {"super-light-blue", "#C0D8FF", "#5A7FB8"},
	{"dark-orange", "#FF780A", "#D95F00"}, {"text", "#ccccdc", "#24292e"},
}

// palette of series, by Grafana's order.
var palette = []struct{ dark, light string }{
	{"#73BF69", "#37872D"}, {"#F2CC0C", "#A37B00"}, {"#8AB8FF", "#3274D9"}, {"#FF780A", "#C75300"},
	{"#F2495C", "#C4162A"}, {"#5794F2", "#1F60C4"}, {"#B877D9", "#8F3BB8"}, {"#9A8AD0", "#705DA0"},
	{"#56A64B", "#19730E"}, {"#FADE2A", "#8F6B00"}, {"#E05A6C", "#AD0317"}, {"#4D8BE8", "#1250B0"},
}

// colourNames are the names that a dashboard may use.
var colourNames = func() (names []string) {
	for _, c := range colours {
		names = append(names, c.name)
	}
	return names
}()

// shades are the classes of a drawing, without those of series.
var shades = []struct{ class, dark, light string }{
	{"t", "#ccccdc", "#24292e"}, {"m", "#9d9dac", "#5f6368"}, {"g", "#2c3235", "#dcdfe3"}, {"b", "#6E9FFF", "#1F62E0"},
}

// rules are the style sheet of the classes.
func rules() string {
	var out strings.Builder
	rule := func(class, dark, light string) {
		fmt.Fprintf(&out, ".%s{color:light-dark(%s,%s)}\n", class, light, dark)
	}
	for i, c := range palette {
		rule(fmt.Sprintf("p%d", i), c.dark, c.light)
	}
	for _, c := range colours {
		rule("k-"+c.name, c.dark, c.light)
	}
	for _, c := range shades {
		rule(c.class, c.dark, c.light)
	}
	return out.String()
}

// class of a colour's name; that of texts for a name that nobody knows.
func class(name string) string {
	for _, known := range colourNames {
		if known == name {
			return "k-" + known
		}
	}
	return "t"
}

// seriesClass is the colour of a series: one of its own, or the next of the palette.
func seriesClass(f *field, i int) string {
	if f.Color.Mode == "fixed" {
		return class(f.Color.FixedColor)
	}
	return fmt.Sprintf("p%d", i%len(palette))
}

// valueClass is the colour of a value: fixed, or by the thresholds.
func (f *field) valueClass(value float64) string {
	if f.Color.Mode == "fixed" {
		return class(f.Color.FixedColor)
	}
	name := "text"
	for _, s := range f.Thresholds.Steps {
		if s.Value == nil || value >= *s.Value {
			name = s.Color
		}
	}
	return class(name)
}

// timeAxis below a plot, with labels at round times.
func (c *canvas) timeAxis(b box, w window) {
	every := steps[len(steps)-1]
	labels := max(b.w/90, 1)
	for _, step := range steps {
		if float64(w.length()/step) <= labels {
			every = step
			break
		}
	}
	layout := "15:04"
	switch {
	case every < time.Minute:
		layout = "15:04:05"
	case every >= 24*time.Hour:
		layout = "01-02"
	case w.length() > 24*time.Hour:
		layout = "01-02 15:04"
	}
	_, offset := w.from.In(c.location).Zone()
	shift := time.Duration(offset) * time.Second
	for at := w.from.Add(shift).Truncate(every).Add(-shift); !at.After(w.to); at = at.Add(every) {
		if at.Before(w.from) {
			continue
		}
		x := b.x + b.w*float64(at.Sub(w.from))/float64(w.length())
		fmt.Fprintf(c, `<path class="g" d="M%.1f %.1fv%.1f"/>`+"\n", x, b.y, b.h)
		c.text(min(x, b.x+b.w-14), b.y+b.h+14, small, "m", "middle", at.In(c.location).Format(layout))
	}
}
