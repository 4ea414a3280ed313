// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// What kombu 5.7 writes of one event: yaml.safe_dump, and msgpack.packb with use_bin_type.
const (
	yamlEvents = "- eta: '2026-11-22T00:00:00+00:00'\n  hostname: w@h\n  name: n\n  retries: 0\n  timestamp: 1.5\n" +
		"  type: task-received\n  uuid: u\n"
	msgpackEvent = "\x86\xa4type\xadtask-received\xa4uuid\xa1u\xa8hostname\xa3w@h\xa4name\xa1n" +
		"\xa3eta\xb92026-11-22T00:00:00+00:00\xa9timestamp\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"
)

func TestDecodeReadsOtherSerializers(t *testing.T) {
	for contentType, body := range map[string]string{typeYAML: yamlEvents, typeMsgpack: msgpackEvent} {
		var d Decoder
		events, refused, err := d.Decode([]byte(body), Format{ContentType: contentType, ContentEncoding: "binary"})
		if err != nil || refused != 0 || len(events) != 1 {
			t.Errorf("%s: %d events, %d refused, error %v", contentType, len(events), refused, err)
			continue
		}
		if e := events[0]; e.Type != TaskReceived || string(e.UUID)+string(e.Name) != "un" || e.Timestamp != 1.5 ||
			e.ETA != 1795305600 || e.Malformed != 0 {
			t.Errorf("%s: %+v", contentType, e)
		}
	}
}

func TestOtherSerializersAreBounded(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for _, pair := range []string{"ba", "cb", "dc", "ed", "fe", "gf"} {
		bomb += pair[:1] + ": &" + pair[:1] + " [" + strings.Repeat("*"+pair[1:]+",", 9) + "]\n"
	}
	tests := map[string]struct{ contentType, body string }{
		"YAML that grows by its aliases": {typeYAML, bomb},
		"YAML that is too long":          {typeYAML, strings.Repeat(" ", maxYAML+1)},
		"YAML that nests":                {typeYAML, strings.Repeat("[", 100_000)},
		"YAML with keys that are lists":  {typeYAML, "[1]: 2"},
		"YAML with a number that is not": {typeYAML, "a: .nan"},
		"no YAML":                        {typeYAML, "a: b: c"},
		"MessagePack that is too long":   {typeMsgpack, strings.Repeat("\xc0", maxMsgpack+1)},
		"MessagePack that nests":         {typeMsgpack, strings.Repeat("\x91", 200_000)},
		"MessagePack that is cut off":    {typeMsgpack, msgpackEvent[:20]},
		"a list of 2^32 in MessagePack":  {typeMsgpack, "\xdd\xff\xff\xff\xff"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if text, err := (Format{ContentType: tc.contentType}).JSON([]byte(tc.body)); !errors.Is(err, ErrBody) {
				t.Errorf("%d bytes, error %v, want %v", len(text), err, ErrBody)
			}
		})
	}
}

func TestDecodeReadsUUIDObjects(t *testing.T) {
	object := `{"__type__": "uuid", "__value__": {"hex": "713bc297b8a74e6898a7781c5e8302cb"}}`
	for value, want := range map[string]string{
		object: "713bc297-b8a7-4e68-98a7-781c5e8302cb", `{"__value__": {"other": [1], "hex": "x"}, "a": [{}]}`: "x",
		`{"__type__": "uuid"}`: "", `{"__value__": 5}`: "", `{"__value__": {"hex": 5}}`: "", `{}`: "", `[]`: "",
	} {
		var d Decoder
		events, refused, err := d.Decode([]byte(with("uuid", value)), Format{ContentType: typeJSON})
		if err != nil || refused == len(events) {
			t.Fatalf("%s: %d events, %d refused, error %v", value, len(events), refused, err)
		}
		if got := bytes.Join(uuids(events), nil); string(got) != want {
			t.Errorf("%s: uuid %q, want %q", value, got, want)
		}
	}
}

func TestParseTasksReadsUUIDObjects(t *testing.T) {
	replies, err := ParseTasks(
		[]byte(`{"w@h": [{"id": {"__type__": "uuid", "__value__": {"hex": "71"}}, "name": "n"}, {"id": "72"}, {"id": 5}]}`))
	got := replies["w@h"]
	if err != nil || len(got) != 3 || got[0].ID != "71" || got[1].ID != "72" || got[2].ID != "" {
		t.Errorf("tasks %+v, error %v", got, err)
	}
}

func uuids(events []Event) (ids [][]byte) {
	for _, e := range events {
		ids = append(ids, e.UUID)
	}
	return ids
}

// FuzzSerializers checks that whatever is sent, it is read in bounded time and memory, and what
// is converted is JSON.
func FuzzSerializers(f *testing.F) {
	f.Add([]byte(yamlEvents), typeYAML)
	f.Add([]byte(msgpackEvent), typeMsgpack)
	var d Decoder
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		events, _, _ := d.Decode(body, Format{ContentType: contentType})
		checkEvents(t, events)
	})
}
