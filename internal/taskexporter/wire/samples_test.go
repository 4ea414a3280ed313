// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// sample is one line of testdata/samples.jsonl, captured from real workers.
type sample struct {
	Broker      string          `json:"broker"`
	Celery      string          `json:"celery"`
	Serializer  string          `json:"serializer"`
	Kind        string          `json:"kind"`
	EventTypes  []string        `json:"event_types"`
	Raw         string          `json:"raw"`
	DecodedBody json.RawMessage `json:"decoded_body"`
	Properties  map[string]any  `json:"properties"`
}

// format is how the message was sent.
func (s sample) format() Format {
	if s.Broker == "redis" {
		return Format{Enveloped: true}
	}
	return Format{ContentType: "application/json", ContentEncoding: "utf-8"}
}

// samples returns the captured messages that hold events.
func samples(t testing.TB) []sample {
	t.Helper()
	file, err := os.Open("testdata/samples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var list []sample
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if len(list) == 0 || lines.Err() != nil {
		t.Fatalf("%d samples read: %v", len(list), lines.Err())
	}
	return list
}
