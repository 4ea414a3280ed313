// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
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
	// longest bounds what is searched for: nothing that long is collected.
	longest = 64 << 10
)

// plainSettings are keys of the Secrets with settings that hold what the stack's spec says openly.
var plainSettings = []string{
	"ENVIRONMENT", "LOG_FORMAT", "LOG_LEVEL", "SENTRY_ENVIRONMENT", "SENTRY_RELEASE", "SENTRY_TRACES_SAMPLE_RATE",
}

// redactor takes secrets out of texts.
type redactor struct {
	// found are the values of Secrets and what they consist of.
	found map[string]bool
	// secrets counts the Secrets whose values are searched for.
	secrets  int
	replacer *strings.Replacer
	words    map[string]bool
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
				r.add(string(value))
			}
		}
	})
}

// add a value, its lines, the texts in its JSON, and the login in its URL.
func (r *redactor) add(value string) {
	value = strings.TrimSpace(value)
	if len(value) < shortest || r.found[value] {
		return
	}
	if len(value) <= longest {
		r.found[value] = true
	}
	if strings.Contains(value, "\n") {
		for line := range strings.Lines(value) {
			r.add(line)
		}
	}
	var content any
	if strings.HasPrefix(value, "{") && json.Unmarshal([]byte(value), &content) == nil {
		walk(content, func(text string) string {
			r.add(text)
			return text
		})
	}
	r.addLogin(value)
}

// addLogin adds what a URL holds of one: the key of a DSN, a token or a password.
func (r *redactor) addLogin(value string) {
	if address, err := url.Parse(value); err == nil && address.User != nil {
		password, _ := address.User.Password()
		r.add(password)
		if password == "" || strings.HasPrefix(address.Scheme, "http") {
			r.add(address.User.Username())
		}
	}
	if address, err := brokerurl.Parse(value); err == nil {
		r.add(address.Password)
	}
}

// ready ends learning. The names of what is collected stay, because everybody sees them.
func (r *redactor) ready(names map[string]bool) {
	var pairs [][2]string
	r.words = map[string]bool{}
	for value := range r.found {
		switch {
		case names[value]:
		case len(value) < loose && word.FindString(value) == value:
			r.words[value] = true
		default:
			pairs = append(pairs, [2]string{value, redacted})
		}
		for _, spelling := range spellings(value) {
			if spelling != value && len(spelling) >= loose {
				pairs = append(pairs, [2]string{spelling, redacted})
			}
		}
	}
	// Of two that begin at the same place the longer one has to be replaced.
	slices.SortFunc(pairs, func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(len(b[0]), len(a[0])), strings.Compare(a[0], b[0]))
	})
	var list []string
	for _, pair := range pairs {
		list = append(list, pair[0], pair[1])
	}
	r.replacer = strings.NewReplacer(list...)
}

// spellings of a value in JSON, URLs and Secrets.
func spellings(value string) []string {
	quoted, _ := json.Marshal(value) // a string always can be
	return []string{
		strings.Trim(string(quoted), `"`), url.QueryEscape(value), url.PathEscape(value),
		strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value)), "="),
		strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(value)), "="),
	}
}

var (
	word = regexp.MustCompile(`[A-Za-z0-9]+`)
	// address is a URL behind its scheme.
	address = regexp.MustCompile(`://(` + redacted + `|[^\s"'<>])*`)
)

// text without secrets: neither values of Secrets nor what URLs hold of them.
func (r *redactor) text(text string) string {
	text = r.replacer.Replace(text)
	text = word.ReplaceAllStringFunc(text, func(found string) string {
		if r.words[found] {
			return redacted
		}
		return found
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
