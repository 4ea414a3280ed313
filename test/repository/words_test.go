// SPDX-License-Identifier: Apache-2.0

package repository

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// words that a reader would have to learn from us alone, each with the field's own.
var words = [][2]string{
	{`survey(?:s|ed)?`, "workload state, or plan"},
	{`roller`, "rollout"},
	{`tell(?:s|ing)?|told`, "reports whether, or shows"},
	{`announce(?:s|d|ment)?`, "record events, or log"},
	{`strange|strangers?`, "unmanaged, or foreign"},
	{`thrifty`, "buffered"},
	{`lean`, "partial"},
	{`boards?`, "dashboard"},
	{`saying`, "text panel, or with"},
	{`slots?`, "placeholder"},
	{`filling`, "data"},
	{`mend(?:s|ed|ing)?`, "repair, or correct"},
	{`heal(?:s|ed|ing)?`, "retry injection"},
	{`overtaken`, "raced"},
	{`remember(?:s|ed|ing)?`, "store, or keep"},
	{`recall(?:s|ed)?`, "load"},
	{`webhooksilent`, "WebhookUnavailable"},
	{`scrapedtooseldom`, "ScrapeIntervalTooLong"},
	{`planetest|(?-i:freeport)`, "testenv"},
	{`realparts`, "integration"},
	{`\w*answer\w*`, "response, or reply"},
	{`patience`, "timeout"},
	{`seldom`, "rarely, or pollInterval"},
	{`halted`, "paused"},
}

// TestWordsOfTheField finds words that were replaced by those that Kubernetes and Prometheus use.
func TestWordsOfTheField(t *testing.T) {
	var patterns []string
	for _, word := range words {
		patterns = append(patterns, "("+word[0]+")")
	}
	pattern := regexp.MustCompile(`(?i)\b(?:` + strings.Join(patterns, "|") + `)\b`)
	camel := regexp.MustCompile(`([a-z0-9])([A-Z])`) // the words of names are looked at as well
	for _, file := range files(t, "*.css", "*.go", "*.html", "*.js", "*.json", "*.md", "*.mjs", "*.py", "*.sh", "*.tmpl",
		"*.toml", "*.tpl", "*.txt", "*.yaml", "*.yml", ".ci/*", "Dockerfile", "Makefile") {
		// This file has to name them, and the definition repeats what Kubernetes says of its types.
		if file == "test/repository/words_test.go" || path.Base(file) == "obstack.dev_observabilitystacks.yaml" {
			continue
		}
		for number, line := range lines(t, file) {
			match := pattern.FindStringSubmatch(line + " " + camel.ReplaceAllString(line, "$1 $2"))
			if match == nil {
				continue
			}
			which := slices.IndexFunc(match[1:], func(group string) bool { return group != "" })
			t.Errorf("%s:%d says %q, write %s", file, number+1, match[0], words[which][1])
		}
	}
}
