// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func TestCapturedMessagesDecode(t *testing.T) {
	var d Decoder
	for i, s := range samples(t) {
		if s.Kind != "" {
			continue
		}
		events, refused, err := d.Decode([]byte(s.Raw), s.format())
		if err != nil || refused != 0 {
			t.Fatalf("sample %d: %d refused, error %v", i, refused, err)
		}
		compareWithJSON(t, fmt.Sprintf("sample %d", i), events, s.DecodedBody)
	}
}

// reference is what encoding/json reads of an event.
type reference struct {
	Type, Hostname, UUID, Name, Queue     string
	Timestamp, Runtime, Active, Processed *float64
}

func compareWithJSON(t *testing.T, what string, events []Event, body []byte) {
	t.Helper()
	var want []reference
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
	} else {
		want = make([]reference, 1)
		if err := json.Unmarshal(body, &want[0]); err != nil {
			t.Fatal(err)
		}
	}
	var got []reference
	for i, e := range events {
		typ := e.Type.String()
		if e.Type == Unknown {
			typ = want[i].Type
		}
		got = append(got, reference{
			Type: typ, Hostname: string(e.Hostname), UUID: string(e.UUID), Name: string(e.Name), Queue: string(e.Queue),
			Timestamp: known(e.Timestamp), Runtime: known(e.Runtime), Active: known(e.Active), Processed: known(e.Processed),
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func known(f float64) *float64 {
	if math.IsNaN(f) {
		return nil
	}
	return &f
}

// envelope returns kombu's envelope around a body.
func envelope(body string) []byte {
	return fmt.Appendf(nil,
		`{"body": %q, "content-encoding": "utf-8", "content-type": "application/json", "headers": {"hostname": "w@h"}, `+
			`"properties": {"body_encoding": "base64"}}`,
		base64.StdEncoding.EncodeToString([]byte(body)))
}

const received = `{"type": "task-received", "uuid": "u", "hostname": "w@h", "name": "n", "timestamp": 1}`

func TestBodiesAreReadHoweverTheyAreWrapped(t *testing.T) {
	zipped, zstandard := compressed(t, received)
	wrap := func(body, encoding, headers string) string {
		return fmt.Sprintf(`{"body": %q, "content-encoding": "utf-8", "content-type": "application/json", "headers": {%s}, `+
			`"properties": {%s}}`, body, headers, encoding)
	}
	base := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	tests := map[string]struct {
		message string
		format  Format
	}{
		"base64":        {wrap(base([]byte(received)), `"body_encoding": "base64"`, ""), Format{Enveloped: true}},
		"plain text":    {wrap(received, "", ""), Format{Enveloped: true}},
		"null encoding": {wrap(received, `"body_encoding": null`, ""), Format{Enveloped: true}},
		"zlib": {
			wrap(base(zipped), `"body_encoding": "base64"`, `"compression": "application/x-gzip"`), Format{Enveloped: true},
		},
		"zstandard": {
			wrap(base(zstandard), `"body_encoding": "base64"`, `"compression": "application/zstd"`), Format{Enveloped: true},
		},
		"AMQP": {received, Format{ContentType: "application/json", ContentEncoding: "utf-8"}},
		"AMQP, zlib": {
			string(zipped), Format{ContentType: "application/json", ContentEncoding: "utf-8", Compression: "application/x-gzip"},
		},
		"list": {"[" + received + "]", Format{ContentType: "application/json"}},
		"escaped base64": {
			strings.ReplaceAll(wrap(base([]byte(received)), `"body_encoding": "base64"`, ""), "e", `\u0065`),
			Format{Enveloped: true},
		},
		"space and new lines": {" [\n\t" + received + "\r\n] ", Format{ContentType: "application/json"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			events, refused, err := d.Decode([]byte(tc.message), tc.format)
			if err != nil || refused != 0 || len(events) != 1 {
				t.Fatalf("%d events, %d refused, error %v", len(events), refused, err)
			}
			if got := string(events[0].UUID) + string(events[0].Name); got != "un" {
				t.Errorf("uuid and name = %q", got)
			}
		})
	}
}

func compressed(t *testing.T, text string) (zipped, zstandard []byte) {
	t.Helper()
	var buffer bytes.Buffer
	w := zlib.NewWriter(&buffer)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes(), z.EncodeAll([]byte(text), nil)
}

func TestCompressedBombIsRefused(t *testing.T) {
	zipped, zstandard := compressed(t, strings.Repeat(" ", maxDecompressed+1))
	for method, body := range map[string][]byte{"gzip": zipped, "zstd": zstandard} {
		if _, err := decompress(body, method); !errors.Is(err, ErrBody) {
			t.Errorf("%s: error = %v, want %v", method, err, ErrBody)
		}
	}
}

func TestExceptionClass(t *testing.T) {
	tests := map[string]string{
		"ValueError('it broke')": "ValueError", "my.mod.Err('x')": "Err", "<MyErr: 5>": "MyErr", "KeyError()": "KeyError",
		"<Err object at 0x7f>": "Err", "reject requeue=False: no": "Reject", "Größe('x')": "Größe", "": "",
		"some words": "", "Err": "", "('x')": "", "1 + 1": "",
	}
	for repr, want := range tests {
		if got := string(exceptionClass([]byte(repr))); got != want {
			t.Errorf("exceptionClass(%q) = %q, want %q", repr, got, want)
		}
	}
}

func TestAWrappedExceptionIsNamedByItsTraceback(t *testing.T) {
	tests := map[string]string{
		`"Traceback:\n  raise X\nbilliard.exceptions.TimeLimitExceeded: TimeLimitExceeded(1,)\n"`: "TimeLimitExceeded",
		`"ValueError: x"`: "ValueError", `"no class here"`: wrapper, `""`: wrapper, `null`: wrapper, `5`: wrapper,
		`"a b: c"`: wrapper,
	}
	for traceback, want := range tests {
		var d Decoder
		body := with("exception", `"ExceptionWithTraceback()"`)
		events, _, err := d.Decode(envelope(body[:len(body)-1]+`, "traceback": `+traceback+"}"), Format{Enveloped: true})
		if err != nil || len(events) != 1 || string(events[0].Exception) != want {
			t.Errorf("%s: events %+v, error %v, want %s", traceback, events, err, want)
		}
	}
}

func TestUnregisteredName(t *testing.T) {
	for repr, want := range map[string]string{
		"NotRegistered('proj.gone')": "proj.gone", "NotRegistered(": "", "ValueError('x')": "",
	} {
		if got := string(unregisteredName([]byte(repr))); got != want {
			t.Errorf("unregisteredName(%q) = %q, want %q", repr, got, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	tests := map[string]float64{
		"2026-11-22T00:00:00+00:00": 1795305600, "2026-11-22T01:00:00+01:00": 1795305600, "2026-11-22T00:00:00Z": 1795305600,
		"2026-11-22T00:00:00.250000+00:00": 1795305600.25, "2026-11-22T00:00:00": 1795305600,
	}
	for text, want := range tests {
		if got, ok := ParseTime(text); !ok || got != want {
			t.Errorf("ParseTime(%q) = %v, %v, want %v", text, got, ok, want)
		}
	}
	if _, ok := ParseTime("tomorrow"); ok {
		t.Error("a word was read as a time")
	}
}
