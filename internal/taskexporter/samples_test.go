// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// captured is one line of the captured messages of real workers.
type captured struct {
	Broker     string   `json:"broker"`
	Kind       string   `json:"kind"`
	EventTypes []string `json:"event_types"`
	Raw        string   `json:"raw"`
}

// capturedRedis returns the captured event messages of the Redis transport.
func capturedRedis(t testing.TB) []captured {
	t.Helper()
	data, err := os.ReadFile("wire/testdata/samples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var list []captured
	for line := range strings.Lines(string(data)) {
		var c captured
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if c.Broker == "redis" && c.Kind == "" {
			list = append(list, c)
		}
	}
	return list
}
