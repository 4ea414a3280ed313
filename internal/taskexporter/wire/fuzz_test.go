// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
)

// FuzzEnvelope checks that any message of the Redis transport yields events or an error.
func FuzzEnvelope(f *testing.F) {
	for _, s := range samples(f) {
		f.Add([]byte(s.Raw))
	}
	var d Decoder
	f.Fuzz(func(t *testing.T, message []byte) {
		events, _, err := d.Decode(message, Format{Enveloped: true})
		checkEvents(t, events)
		if err == nil && !json.Valid(message) && !pythonOnly(message) {
			t.Error("accepted, but encoding/json does not")
		}
	})
}

// FuzzBody checks that any body of RabbitMQ yields events or an error, compressed or not.
func FuzzBody(f *testing.F) {
	for _, s := range samples(f) {
		f.Add([]byte(s.DecodedBody), "")
	}
	f.Add([]byte("x\x9c\x03\x00\x00\x00\x00\x01"), "gzip")
	f.Add([]byte("BZh9"), "bzip2")
	f.Add([]byte("(\xb5/\xfd"), "zstd")
	var d Decoder
	f.Fuzz(func(t *testing.T, body []byte, compression string) {
		events, _, _ := d.Decode(body, Format{ContentType: "application/json", Compression: compression})
		checkEvents(t, events)
		_, _ = ParseActiveQueues(body)
		_, _ = ParseStats(body)
		_, _ = ParseTasks(body)
	})
}

func checkEvents(t *testing.T, events []Event) {
	t.Helper()
	for _, e := range events {
		if len(e.Hostname) == 0 || e.Type.OfTask() && len(e.UUID) == 0 {
			t.Errorf("an event without an identity: %+v", e)
		}
		for _, number := range []float64{e.Timestamp, e.Runtime, e.Active, e.Processed} {
			if math.IsInf(number, 0) || number < 0 {
				t.Errorf("number %v in an event", number)
			}
		}
	}
}

// FuzzEvent compares the scanner with encoding/json, which must agree on what is valid and on every
// string and number.
func FuzzEvent(f *testing.F) {
	for _, s := range samples(f) {
		f.Add([]byte(s.DecodedBody))
	}
	for _, text := range []string{
		`"a\ud800b"`, `"\ud83d\ude00"`, `"\udc00\ud800"`, "\"\xff\"", `-0.0e-5`, `01`, `1.`, `"\u12"`, `[1,]`,
		`{"a":1,"a":2}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s scanner
		s.reset(text)
		s.skip(0)
		valid := s.end()
		if pythonOnly(text) || tooDeep(text) {
			return
		}
		if want := json.Valid(text); valid != want {
			t.Fatalf("valid = %v, want %v", valid, want)
		}
		if valid {
			compareValue(t, text)
		}
	})
}

// compareValue compares a string, a number, or the members of an object.
func compareValue(t *testing.T, text []byte) {
	t.Helper()
	var s scanner
	s.reset(text)
	var wantString string
	if s.peek() == '"' && json.Unmarshal(text, &wantString) == nil {
		if got, ok := s.stringOr(); !ok || string(got) != wantString {
			t.Errorf("string = %q, want %q", got, wantString)
		}
		return
	}
	var wantNumber float64
	if s.peek() != 'n' && json.Unmarshal(text, &wantNumber) == nil {
		if got, ok := s.numberOr(); !ok || got != wantNumber {
			t.Errorf("number = %v, want %v", got, wantNumber)
		}
		return
	}
	compareMembers(t, &s, text)
}

// compareMembers compares the keys of an object.
func compareMembers(t *testing.T, s *scanner, text []byte) {
	t.Helper()
	var wantMembers map[string]json.RawMessage
	if s.peek() != '{' || json.Unmarshal(text, &wantMembers) != nil {
		return
	}
	got := map[string]bool{}
	s.members(func(key []byte) {
		got[string(key)] = true
		s.skip(0)
	})
	if !s.end() || len(got) != len(wantMembers) {
		t.Errorf("keys = %v, want those of %v", got, wantMembers)
	}
}

// pythonOnly reports whether the text may hold what only Python's JSON allows.
func pythonOnly(text []byte) bool {
	return bytes.Contains(text, []byte("NaN")) || bytes.Contains(text, []byte("Infinity"))
}

// tooDeep reports whether the text may be nested deeper than the scanner allows.
func tooDeep(text []byte) bool {
	return bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) >= maxDepth
}
