// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// All that a cluster says is the text of somebody else. What of it goes to a terminal goes through
// say, or printable, if it is for people, and through asJSON and asYAML if it is for programs.

// say writes one line for people.
func say(out io.Writer, format string, args ...any) {
	fmt.Fprintln(out, printable(fmt.Sprintf(format, args...)))
}

// printable is a text in one line, without what could steer a terminal or show something else than
// there is. What takes no place of its own is shown as U+FFFD, because two names that differ in it
// must not look the same.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		default:
			return unicode.ReplacementChar
		}
	}, text)
}

// hidden reports whether a character has to be escaped in JSON and YAML.
func hidden(r rune) bool {
	return !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) && r != '\n' && r != '\t'
}

// asJSON is indented, with escapes for what is hidden.
func asJSON(content any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // People read it too.
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(content); err != nil {
		return nil, err
	}
	return escapeHidden(text.Bytes(), func(r rune) string {
		if r > 0xffff { // JSON has no escape for these: UTF-16 takes two.
			r -= 0x10000
			return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		return fmt.Sprintf(`\u%04x`, r)
	}), nil
}

// generic is a content as JSON, and as what JSON is read into.
func generic(content any) (text []byte, plain any, err error) {
	if text, err = json.Marshal(content); err != nil {
		return nil, nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&plain)
	return text, plain, err
}

// asYAML has escapes for what is hidden.
func asYAML(content any) ([]byte, error) {
	text, plain, err := generic(content)
	if err != nil {
		return nil, err
	}
	// Only quoted texts can have escapes, and the libraries refuse some of these characters: a mark
	// that is nowhere else stands for them until all such texts are quoted.
	mark := '\u2e80'
	for bytes.ContainsRune(text, mark) {
		mark++
	}
	plain = walk(plain, func(text string) string {
		return string(escapeHidden([]byte(text), func(r rune) string { return fmt.Sprintf("%c%08x", mark, r) }))
	})
	text, err = yaml.Marshal(plain)
	if err != nil || !bytes.ContainsRune(text, mark) {
		return text, err
	}
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	quote(&document, mark)
	text, err = encodeYAML(&document)
	return bytes.ReplaceAll(text, []byte(string(mark)), []byte(`\U`)), err
}

// quote the texts that hold a mark.
func quote(n *yamlv3.Node, mark rune) {
	if n.Kind == yamlv3.ScalarNode && strings.ContainsRune(n.Value, mark) {
		n.Style = yamlv3.DoubleQuotedStyle
	}
	for _, child := range n.Content {
		quote(child, mark)
	}
}

// encodeYAML writes a document of which all texts are quoted that hold what is hidden.
func encodeYAML(document *yamlv3.Node) ([]byte, error) {
	var text bytes.Buffer
	encoder := yamlv3.NewEncoder(&text)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(document); err != nil {
		return nil, err
	}
	return escapeHidden(text.Bytes(), func(r rune) string { return fmt.Sprintf(`\U%08x`, r) }), nil
}

func escapeHidden(text []byte, escape func(rune) string) []byte {
	if bytes.IndexFunc(text, hidden) < 0 {
		return text
	}
	var out bytes.Buffer
	for _, r := range string(text) {
		if hidden(r) {
			out.WriteString(escape(r))
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes()
}
