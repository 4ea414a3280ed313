// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// text is JSON with placeholders that get their values for each stack. Dashboards are decoded and
// taken apart once, when the program starts: decoding them for each stack and pass was most of the
// cost of a pass.
type text struct {
	// literals stand before, between and behind the placeholders.
	literals, placeholders []string
}

// Marks of a placeholder while a dashboard is still a tree, in code points that no dashboard uses.
// A raw placeholder is a string in the tree, and its value any JSON.
const (
	markOpens, markCloses = "\ue000", "\ue001"
	rawOpens, rawCloses   = "\ue002", "\ue003"
)

func placeholder(name string) string    { return markOpens + name + markCloses }
func rawPlaceholder(name string) string { return rawOpens + name + rawCloses }

var rawMarks = strings.NewReplacer(`"`+rawOpens, markOpens, rawCloses+`"`, markCloses)

// newText takes the JSON of a tree apart at its placeholders.
func newText(tree any) (text, error) {
	encoded, err := encode(tree)
	if err != nil {
		return text{}, err
	}
	rest := rawMarks.Replace(encoded)
	var t text
	for {
		literal, after, more := strings.Cut(rest, markOpens)
		t.literals = append(t.literals, literal)
		if !more {
			return t, nil
		}
		var name string
		name, rest, _ = strings.Cut(after, markCloses)
		t.placeholders = append(t.placeholders, name)
	}
}

// split takes a text apart at the first placeholder of a name. Without one, all of it is before.
func (t text) split(name string) (before, after text) {
	at := slices.Index(t.placeholders, name)
	if at < 0 {
		return t, text{}
	}
	return text{t.literals[:at+1], t.placeholders[:at]}, text{t.literals[at+1:], t.placeholders[at+1:]}
}

// size is the length without the placeholders.
func (t text) size() int {
	n := 0
	for _, literal := range t.literals {
		n += len(literal)
	}
	return n
}

// has reports whether every placeholder has a value in one of the maps.
func (t text) has(values ...map[string]string) bool {
	for _, name := range t.placeholders {
		if _, ok := lookup(name, values); !ok {
			return false
		}
	}
	return true
}

// write puts into each placeholder the value of the first map that has one.
func (t text) write(b *strings.Builder, values ...map[string]string) {
	for i, literal := range t.literals {
		b.WriteString(literal)
		if i < len(t.placeholders) {
			value, _ := lookup(t.placeholders[i], values)
			b.WriteString(value)
		}
	}
}

func lookup(name string, values []map[string]string) (string, bool) {
	for _, known := range values {
		if value, ok := known[name]; ok {
			return value, true
		}
	}
	return "", false
}

// encode writes JSON with sorted keys, and "<" as itself.
func encode(value any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encode JSON: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// quoted is a string as it stands between the quotation marks of JSON. A string always encodes.
func quoted(s string) string {
	encoded, _ := encode(s)
	return strings.TrimSuffix(strings.TrimPrefix(encoded, `"`), `"`)
}

// quotedAll quotes the values of a map.
func quotedAll(values map[string]string) map[string]string {
	all := make(map[string]string, len(values))
	for key, value := range values {
		all[key] = quoted(value)
	}
	return all
}
