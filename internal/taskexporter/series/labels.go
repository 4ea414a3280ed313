// SPDX-License-Identifier: Apache-2.0

package series

import (
	"strconv"
	"strings"
)

// Overflow is the label value that stands for label sets beyond the limit.
const Overflow = "overflow"

// Label is a name and its value.
type Label struct{ Name, Value string }

// Key identifies one label set of a task.
type Key struct{ Name, Hostname, Queue string }

// overflowKey is where label sets beyond the limit are counted.
var overflowKey = Key{Name: Overflow, Hostname: Overflow, Queue: Overflow}

// render returns the labels as in the text format, without the braces.
func (k Key) render(static string) string {
	var b strings.Builder
	b.Grow(len(`name="",hostname="",queue_name="",`) + len(k.Name) + len(k.Hostname) + len(k.Queue) + len(static))
	writeLabel(&b, Label{"name", k.Name})
	b.WriteByte(',')
	writeLabel(&b, Label{"hostname", k.Hostname})
	b.WriteByte(',')
	writeLabel(&b, Label{"queue_name", k.Queue})
	b.WriteString(static)
	return b.String()
}

// renderStatic returns the labels that every series carries, each with a comma before it.
func renderStatic(labels []Label) string {
	var b strings.Builder
	for _, label := range labels {
		b.WriteByte(',')
		writeLabel(&b, label)
	}
	return b.String()
}

// escapeValue escapes as both text formats demand:
// https://prometheus.io/docs/instrumenting/exposition_formats.
var escapeValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func writeLabel(b *strings.Builder, label Label) {
	b.WriteString(label.Name)
	b.WriteString(`="`)
	_, _ = escapeValue.WriteString(b, label.Value) // a strings.Builder never fails
	b.WriteByte('"')
}

// formatBound formats a bucket's bound as the Python client does, with a decimal point: 1.0, not 1.
func formatBound(bound float64) string {
	text := strconv.FormatFloat(bound, 'g', -1, 64)
	if strings.ContainsAny(text, ".einf") {
		return text
	}
	return text + ".0"
}
