// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var pages = template.Must(template.ParseFS(files, "page/*.html"))

// styleSheet of all pages: the grid, and the colours for both themes.
func styleSheet() ([]byte, error) {
	sheet, err := files.ReadFile("page/page.css")
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(sheet)
	fmt.Fprintf(out, "@media (min-width: %dpx) {\n", phoneWidth+1)
	for i := range gridColumns {
		fmt.Fprintf(out, ".x%d{grid-column-start:%d}.w%d{grid-column-end:span %d}\n", i, i+1, i+1, i+1)
	}
	out.WriteString("}\n")
	for i := range maxHeight {
		fmt.Fprintf(out, ".h%d{grid-row-end:span %d}\n", i+1, i+1)
	}
	out.WriteString(shapes)
	out.WriteString(rules())
	return out.Bytes(), nil
}

// page of a dashboard.
type page struct {
	*Dashboard

	Heading    string
	Dashboards []tab
	Pages      []Link
	Variables  []*chosen
	Ranges     []choice
	Refreshes  []choice
	To         string
	At         string
	// RefreshSeconds is 0 if the page is not refreshed.
	RefreshSeconds int
	// Styles are set for a still, which loads none, and From is when it begins.
	Styles   template.CSS
	From     string
	Sections []section

	in       scope
	source   *source
	location *time.Location
	// Width of the page, in pixels.
	Width int
}

// tab leads to a dashboard.
type tab struct {
	Title, URL string
	Current    bool
}

// section is a row with the panels below it. The panels above the first row have none.
type section struct {
	Row, Folded bool
	Title       string

	panels []int
}

// newPage is what a request asks for; what it does not say the dashboard does.
func (v *Viewer) newPage(ctx context.Context, d *Dashboard, request url.Values) *page {
	from, to := cmp.Or(request.Get("from"), d.Time.From), cmp.Or(request.Get("to"), d.Time.To, "now")
	every := d.Refresh
	if request.Has("refresh") {
		every = request.Get("refresh")
	}
	refresh := refreshOf(every)
	w := windowOf(from, to, v.now(), refresh)
	p := &page{
		Dashboard: d, in: d.choose(ctx, v.source, w, request), source: v.source, location: v.location,
		Ranges: chooseFrom(ranges, from), Refreshes: chooseFrom(refreshes, every), To: to,
		RefreshSeconds: int(refresh.Seconds()), Width: widthOf(request.Get("width")),
		At:   w.to.In(v.location).Format("2006-01-02 15:04:05"),
		From: w.from.In(v.location).Format("2006-01-02 15:04:05 MST"),
	}
	p.Heading = p.in.title(d.Title)
	for _, c := range p.in.variables {
		if c.Shown() {
			p.Variables = append(p.Variables, c)
		}
	}
	kept := url.Values{"from": {from}, "to": {to}, "refresh": {every}}
	for _, other := range v.dashboards {
		p.Dashboards = append(p.Dashboards, tab{other.name(), other.path() + "?" + kept.Encode(), other == d})
	}
	for _, link := range d.Links {
		if link.Type == "link" && link.URL != "" {
			p.Pages = append(p.Pages, link)
		}
	}
	p.divide()
	return p
}

// name of a dashboard between others of its stack, whose name follows a colon.
func (d *Dashboard) name() string {
	none := scope{}
	for _, v := range d.Templating.List {
		if v.Type == "constant" {
			none.variables = append(none.variables, &chosen{variable: v, values: texts{string(v.Query)}})
		}
	}
	before, _, _ := strings.Cut(none.title(d.Title), ":")
	return before
}

// chooseFrom a menu; what it does not have is added.
func chooseFrom(menu []choice, value string) []choice {
	all := slices.Clone(menu)
	for i := range all {
		if all[i].Chosen = all[i].Value == value; all[i].Chosen {
			return all
		}
	}
	return append(all, choice{Value: value, Text: cut(value, 30), Chosen: true})
}

// divide the panels by rows.
func (p *page) divide() {
	p.Sections = []section{{}}
	for i := range p.Panels {
		of := &p.Panels[i]
		if of.Type == "row" {
			p.Sections = append(p.Sections, section{Row: true, Folded: of.Collapsed, Title: p.in.title(of.Title)})
			continue
		}
		last := &p.Sections[len(p.Sections)-1]
		last.panels = append(last.panels, i)
	}
}

// write the page panel by panel, each as soon as those before it are there, and have it sent.
func (p *page) write(ctx context.Context, w io.Writer, send func()) {
	marked := sync.OnceValue(func() marks { return p.askMarks(ctx) })
	go marked()
	drawn := p.drawAll(ctx, marked)
	write := func(name string, data any) bool {
		var out bytes.Buffer
		if err := pages.ExecuteTemplate(&out, name, data); err != nil {
			out.Reset()
			out.WriteString("<p>This part of the page cannot be shown.</p>")
		}
		_, err := w.Write(out.Bytes())
		return err == nil
	}
	write("head", p)
	write("marks", marked())
	for _, s := range p.Sections {
		s.Folded = s.Folded && p.Styles == ""
		write("row", s)
		for _, at := range s.panels {
			if !write("panel", <-drawn[at]) {
				return
			}
			send()
		}
		write("end of row", s)
	}
	write("foot", p)
}

// shownPanel is a panel on a page.
type shownPanel struct {
	*Panel

	Heading, Summary string
	Notes            []string
	// Drawing in SVG, unless the panel is a table or text.
	Drawing       template.HTML
	Width, Height int
	Readings      string
	Table         *table
	Paragraphs    []paragraph
	NoValue       string
}

// drawAll panels side by side, each with the marks; each comes in its channel.
func (p *page) drawAll(ctx context.Context, marked func() marks) []chan shownPanel {
	all := make([]chan shownPanel, len(p.Panels))
	for i := range p.Panels {
		all[i] = make(chan shownPanel, 1)
		if p.Panels[i].Type == "row" {
			continue
		}
		go func() {
			e := p.Panels[i].evaluate(ctx, p.source, p.in)
			e.marks = marked().All
			all[i] <- p.show(&e)
		}()
	}
	return all
}

// show a panel: a table and text as HTML, the rest drawn.
func (p *page) show(e *evaluated) shownPanel {
	s := shownPanel{Panel: e.Panel, Heading: e.title, Summary: e.title + ": " + e.summary()}
	switch {
	case e.Type == "text":
		s.Paragraphs = markdown(e.content)
	case !slices.Contains(panelTypes, e.Type): // The note says so.
	case e.Type == "table" && len(e.lines) > 0:
		t := e.table()
		s.Table = &t
	case e.Type == "table":
		s.NoValue = e.noValue()
	default:
		s.Width, s.Height = p.panelWidth(e.GridPos.W), e.GridPos.H*rowHeight-gap-headHeight
		c := canvas{location: p.location}
		if read := c.draw(box{0, 0, float64(s.Width), float64(s.Height)}, e); read != nil && p.Styles == "" {
			encoded, _ := json.Marshal(read) // Texts and numbers that are finite always encode.
			s.Readings = string(encoded)
		}
		s.Drawing = template.HTML(c.String()) // #nosec G203 -- the canvas escapes every text
	}
	s.Notes = e.notes
	return s
}

// widthOf a page, as a request says.
func widthOf(text string) int {
	width, err := strconv.Atoi(text)
	if err != nil {
		return gridColumns * columnWidth
	}
	return min(max(width, narrowest), widest)
}

// panelWidth is that of a panel of some columns. On a phone a panel is as wide as the page.
func (p *page) panelWidth(columns int) int {
	inside := p.Width - margins
	if p.Width <= phoneWidth {
		return inside
	}
	return max(columns*(inside+gap)/gridColumns-gap, narrowest/4)
}

// summary of a drawing for those who do not see it.
func (e *evaluated) summary() string {
	if len(e.lines) == 0 {
		return e.noValue()
	}
	var all []string
	for i := range e.lines[:min(len(e.lines), 8)] {
		l := &e.lines[i]
		f, _ := e.of(l.name)
		all = append(all, strings.TrimSpace(l.name+" "+number(l.last(), f.Unit, f.Decimals)))
	}
	if len(e.lines) > len(all) {
		all = append(all, fmt.Sprintf("and %d more", len(e.lines)-len(all)))
	}
	return strings.Join(all, ", ")
}
