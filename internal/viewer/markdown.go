// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"regexp"
	"strings"
)

// paragraph of a text panel: a heading, an item of a list, or neither.
type paragraph struct {
	Heading, Item bool
	Spans         []span
}

// span is text of one kind. What is no markup is text, also HTML.
type span struct {
	Text, URL  string
	Bold, Code bool
}

var spans = regexp.MustCompile("`([^`]+)`|\\*\\*([^*]+)\\*\\*|\\[([^\\]]+)\\]\\((https?://[^)\\s]+)\\)")

// markdown reads the part of Markdown that notes are written in: paragraphs, headings, lists, bold,
// code, and links to pages.
func markdown(content string) []paragraph {
	var all []paragraph
	open := false
	for text := range strings.Lines(content) {
		text = strings.TrimSpace(text)
		heading, isHeading := strings.CutPrefix(text, "#")
		item, isItem := strings.CutPrefix(text, "- ")
		if !isItem {
			item, isItem = strings.CutPrefix(text, "* ")
		}
		switch {
		case text == "":
			open = false
		case isHeading:
			all, open = append(all, paragraph{Heading: true, Spans: spansOf(strings.TrimLeft(heading, "# "))}), false
		case isItem:
			all, open = append(all, paragraph{Item: true, Spans: spansOf(item)}), true
		case open:
			last := &all[len(all)-1]
			last.Spans = append(last.Spans, spansOf(" "+text)...)
		default:
			all, open = append(all, paragraph{Spans: spansOf(text)}), true
		}
	}
	return all
}

func spansOf(text string) []span {
	var all []span
	for {
		at := spans.FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		group := func(i int) string {
			if at[2*i] < 0 {
				return ""
			}
			return text[at[2*i]:at[2*i+1]]
		}
		if at[0] > 0 {
			all = append(all, span{Text: text[:at[0]]})
		}
		all = append(all, span{
			Text: group(1) + group(2) + group(3), URL: group(4), Code: group(1) != "", Bold: group(2) != "",
		})
		text = text[at[1]:]
	}
	if text != "" {
		all = append(all, span{Text: text})
	}
	return all
}

// paragraphs of a picture, without markup.
func (c *canvas) paragraphs(b box, content string) {
	const height = 17
	y := b.y + 18
	for _, p := range markdown(content) {
		text := ""
		if p.Item {
			text = "• "
		}
		for _, s := range p.Spans {
			text += s.Text
		}
		for text != "" && y < b.y+b.h {
			var first string
			first, text = wrap(text, int((b.w-24)/(medium*letter)))
			c.text(b.x+12, y, medium, "t", "start", first)
			y += height
		}
	}
}

// wrap returns what fits into a line, and the rest.
func wrap(text string, most int) (first, rest string) {
	letters := []rune(text)
	if len(letters) <= most {
		return text, ""
	}
	first = string(letters[:max(most, 1)])
	if space := strings.LastIndex(first, " "); space > 0 {
		first = first[:space]
	}
	return first, strings.TrimPrefix(text[len(first):], " ")
}
