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
	Text, URL          string
	Bold, Italic, Code bool
}

var spans = regexp.MustCompile("`([^`]+)`|\\*\\*([^*]+)\\*\\*|\\[([^\\]]+)\\]\\((https?://[^)\\s]+)\\)" +
	"|\\*([^*\\s][^*]*)\\*")

// markdown reads the part of Markdown that notes are written in: paragraphs, headings, lists, bold,
// italic, code, and links to pages.
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
			Text: group(1) + group(2) + group(3) + group(5), URL: group(4), Code: group(1) != "", Bold: group(2) != "",
			Italic: group(5) != "",
		})
		text = text[at[1]:]
	}
	if text != "" {
		all = append(all, span{Text: text})
	}
	return all
}
