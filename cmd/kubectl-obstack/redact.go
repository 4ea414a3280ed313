// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/internal/brokerurl"
)

const (
	// redacted stands for what was a secret.
	redacted = "<redacted>"
	// leftOut stands for a value that is not collected at all.
	leftOut = "<left out>"
	// shortest is the length of values that are searched for; those below loose are found as words
	// alone, because they are parts of many a word.
	shortest, loose = 4, 8
	// shortestCode is that of what is searched for in base64 and hex.
	shortestCode = 6
	// longest bounds what is searched for: nothing that long is collected.
	longest = 64 << 10
)

// commonplace are values that no secret is.
var commonplace = []string{"true", "false", "null", "none", "True", "False", "None"}

// plainSettings are keys of the Secrets with settings that hold what the stack's spec says openly.
var plainSettings = []string{
	"ENVIRONMENT", "LOG_FORMAT", "LOG_LEVEL", "SENTRY_ENVIRONMENT", "SENTRY_RELEASE", "SENTRY_TRACES_SAMPLE_RATE",
}

// redactor takes secrets out of texts.
type redactor struct {
	// found are the values of Secrets and what they consist of. Those that are true may be names.
	found map[string]bool
	// secrets counts the Secrets whose values are searched for.
	secrets int
	// plain and unescaped are searched for in texts as they are, and in what they escape.
	plain, unescaped needles
}

// learn reads the values of all Secrets that the caller may read. The namespace is returned if they
// are those of one alone.
func (r *redactor) learn(ctx context.Context, api scopedReader) (string, error) {
	r.found = map[string]bool{}
	return api.confined(ctx, &corev1.SecretList{}, func(object client.Object) {
		secret := object.(*corev1.Secret)
		r.secrets++
		for key, value := range secret.Data {
			if !ours(secret) || !slices.Contains(plainSettings, key) {
				r.addOf(key, string(value))
			}
		}
	})
}

var (
	// naming are keys of values that name something.
	naming = regexp.MustCompile(`(?i)(name|namespace|host|user|server|service|database|db|cluster|release|app|component|` +
		`project|env|environment)$`)
	// assignment is a key and its value in a line of a shell, of YAML, JSON, Python and many others.
	assignment = regexp.MustCompile(`([\w.-]+)["']?\s*(?:=|:\s|:["'])\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&]+)`)
	// remainder is that of a line behind its first key.
	remainder = regexp.MustCompile(`^(?:- |export |set )?\s*([\w.-]+)["']?\s*(?:=|:\s)\s*(.*\S)`)
	// userAndPassword is a line of basic authentication.
	port            = regexp.MustCompile(`^\d{1,5}$`)
	userAndPassword = regexp.MustCompile(`^[^\s:/"'{\[]+:([^\s/]\S*)$`)
)

// add a value of which nothing says what it is.
func (r *redactor) add(value string) { r.addPart("", value, true) }

// addOf adds the value of a key. One that is the name of an object as well is a secret all the
// same, unless the key says that it names something: a password like the name of its namespace is
// a weak one, but a host or a namespace in a Secret is none.
func (r *redactor) addOf(key, value string) { r.addPart(key, value, naming.MatchString(key)) }

// addPart adds a value, and all that looks like a value in it: its lines, those of keys, the texts
// of its JSON, and the login in its URL.
func (r *redactor) addPart(key, value string, name bool) {
	value = strings.TrimSpace(value)
	if len(value) < shortest || slices.Contains(commonplace, value) {
		return
	}
	if before, ok := r.found[value]; ok && (name || !before) {
		return
	}
	if len(value) <= longest {
		r.found[value] = name
	}
	if strings.Contains(value, "\n") {
		for line := range strings.Lines(value) {
			r.add(line)
		}
	}
	var content any
	if strings.ContainsAny(value[:1], "{[\"") && json.Unmarshal([]byte(value), &content) == nil {
		eachText(key, content, r.addOf)
		return
	}
	if !strings.Contains(value, "\n") {
		r.addLine(value)
	}
	r.addLogin(value)
}

// addLine adds the values in a line.
func (r *redactor) addLine(line string) {
	if bare := unquote(line); bare != line {
		r.add(bare)
	}
	if item, ok := strings.CutPrefix(line, "- "); ok {
		r.add(unquote(strings.TrimSpace(item)))
	}
	if list := strings.Trim(line, "[]"); list != line {
		for item := range strings.SplitSeq(list, ",") {
			r.add(unquote(strings.TrimSpace(item)))
		}
	}
	if found := userAndPassword.FindStringSubmatch(line); found != nil && !port.MatchString(found[1]) {
		r.addOf("password", found[1])
	}
	for _, found := range slices.Concat(
		remainder.FindAllStringSubmatch(line, -1), assignment.FindAllStringSubmatch(line, -1)) {
		r.addOf(found[1], unquote(found[2]))
	}
}

// unquote takes away the quotes around a text.
func unquote(text string) string {
	if len(text) < 2 || text[0] != text[len(text)-1] || !strings.ContainsAny(text[:1], "\"'") {
		return text
	}
	if plain, err := strconv.Unquote(text); err == nil {
		return plain
	}
	return text[1 : len(text)-1]
}

// addLogin adds what a URL holds of one: the key of a DSN, a token or a password.
func (r *redactor) addLogin(value string) {
	if address, err := url.Parse(value); err == nil && address.User != nil {
		password, _ := address.User.Password()
		r.addOf("password", password)
		if password == "" || strings.HasPrefix(address.Scheme, "http") {
			r.addOf("token", address.User.Username())
		}
	}
	if address, err := brokerurl.Parse(value); err == nil {
		r.addOf("password", address.Password)
	}
}

// ready ends learning. What may be a name, and is one of those, stays.
func (r *redactor) ready(names map[string]bool) {
	r.plain, r.unescaped = needles{}, needles{}
	for value, name := range r.found {
		if name && names[value] {
			continue
		}
		whole := len(value) < loose && word.FindString(value) == value
		r.plain.add(needle{text: value, whole: whole})
		r.unescaped.add(needle{text: string(unescape(value).text), whole: whole})
		for _, encoded := range encodings(value) {
			r.unescaped.add(encoded)
		}
	}
	r.plain.sort()
	r.unescaped.sort()
}

var (
	word = regexp.MustCompile(`[A-Za-z0-9]+`)
	// address is a URL behind its scheme.
	address = regexp.MustCompile(`://(` + redacted + `|[^\s"'<>])*`)
	// authorization is what proves who sends a request over HTTP.
	authorization = regexp.MustCompile(`(?i)\b(basic|bearer)(\s+|%20|\+)([A-Za-z0-9._~+/=-]{6,})`)
)

// text without secrets: neither values of Secrets nor what URLs and requests hold of logins.
func (r *redactor) text(text string) string {
	text = replaceSpans(text, slices.Concat(r.plain.find(form{text: []byte(text)}), r.unescaped.find(unescape(text))))
	text = authorization.ReplaceAllStringFunc(text, func(found string) string {
		part := authorization.FindStringSubmatch(found)
		if !strings.ContainsAny(part[3], "0123456789=") && strings.ToLower(part[3][1:]) == part[3][1:] {
			return found // "basic authentication"
		}
		return part[1] + part[2] + redacted
	})
	return address.ReplaceAllStringFunc(text, func(found string) string {
		if at := strings.LastIndex(found, "@"); at >= 0 {
			found = "://" + redacted + found[at:]
		}
		if before, _, ok := strings.Cut(found, "?"); ok {
			found = before + "?" + redacted
		}
		return found
	})
}

// eachText of JSON, numbers too, with the key that it is below.
func eachText(key string, content any, do func(key, text string)) {
	switch content := content.(type) {
	case string:
		do(key, content)
	case float64:
		do(key, strconv.FormatFloat(content, 'f', -1, 64))
	case []any:
		for _, item := range content {
			eachText(key, item, do)
		}
	case map[string]any:
		for below, value := range content {
			eachText(below, value, do)
		}
	}
}

// walk replaces every text in JSON, those of keys too.
func walk(content any, replace func(string) string) any {
	switch content := content.(type) {
	case string:
		return replace(content)
	case []any:
		for i := range content {
			content[i] = walk(content[i], replace)
		}
	case map[string]any:
		for key, value := range content {
			value = walk(value, replace)
			if safe := replace(key); safe != key {
				delete(content, key)
				key = safe
			}
			content[key] = value
		}
	}
	return content
}
