// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"encoding/json"
	"slices"
	"strings"
)

// text is JSON with slots that are filled in for each stack. Dashboards are
// decoded and taken apart once, when the program starts: decoding them for each
// stack and pass was most of the cost of a pass.
type text struct {
	// literals stand before, between and behind the slots.
	literals, slots []string
}

// Marks of a slot while a dashboard is still a tree, in code points that no
// dashboard uses. A raw slot is a string in the tree, and any JSON once filled in.
const (
	slotOpens, slotCloses = "\ue000", "\ue001"
	rawOpens, rawCloses   = "\ue002", "\ue003"
)

func slot(name string) string    { return slotOpens + name + slotCloses }
func rawSlot(name string) string { return rawOpens + name + rawCloses }

var rawMarks = strings.NewReplacer(`"`+rawOpens, slotOpens, rawCloses+`"`, slotCloses)

// newText takes the JSON of a tree apart at its slots.
func newText(tree any) text {
	rest := rawMarks.Replace(encode(tree))
	var t text
	for {
		literal, after, more := strings.Cut(rest, slotOpens)
		t.literals = append(t.literals, literal)
		if !more {
			return t
		}
		var name string
		name, rest, _ = strings.Cut(after, slotCloses)
		t.slots = append(t.slots, name)
	}
}

// split takes a text apart at the first slot of a name. Without one, all of it is before.
func (t text) split(name string) (before, after text) {
	at := slices.Index(t.slots, name)
	if at < 0 {
		return t, text{}
	}
	return text{t.literals[:at+1], t.slots[:at]}, text{t.literals[at+1:], t.slots[at+1:]}
}

// size is the length without the slots.
func (t text) size() int {
	n := 0
	for _, literal := range t.literals {
		n += len(literal)
	}
	return n
}

// has tells whether every slot has a value in one of the maps.
func (t text) has(values ...map[string]string) bool {
	for _, name := range t.slots {
		if _, ok := lookup(name, values); !ok {
			return false
		}
	}
	return true
}

// write fills the slots in from the first map that knows each.
func (t text) write(b *strings.Builder, values ...map[string]string) {
	for i, literal := range t.literals {
		b.WriteString(literal)
		if i < len(t.slots) {
			value, _ := lookup(t.slots[i], values)
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

// encode writes JSON with sorted keys, and "<" as itself. What was decoded from JSON always encodes.
func encode(value any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value)
	return strings.TrimSuffix(b.String(), "\n")
}

// quoted is a string as it stands between the quotation marks of JSON.
func quoted(s string) string {
	encoded := encode(s)
	return encoded[1 : len(encoded)-1]
}

// quotedAll quotes the values of a map.
func quotedAll(values map[string]string) map[string]string {
	all := make(map[string]string, len(values))
	for key, value := range values {
		all[key] = quoted(value)
	}
	return all
}
