// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// frame returns a frame as it is on the wire.
func frame(kind byte, channel uint16, payload string) string {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{kind}, channel), uint32(len(payload)))
	return string(head) + payload + "\xce"
}

// short returns a text with its length before it, in an octet.
func short(text string) string { return string([]byte{byte(len(text))}) + text }

// long returns a text with its length before it, in four octets.
func long(text string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
}

const jsonProperties = "\x80\x00\x10application/json"

// delivered returns the frames of a message, its body in pieces of a size.
func delivered(channel uint16, properties, body string, piece int) string {
	header := "\x00\x3c\x00\x00" + string(binary.BigEndian.AppendUint64(nil, uint64(len(body)))) + properties
	text := frame(frameMethod, channel, string(methodDeliver)+short("consumer")+"\x00\x00\x00\x00\x00\x00\x00\x01\x00"+short("celeryev")+short("task.sent"))
	text += frame(frameHeader, channel, header)
	for ; len(body) > 0; body = body[min(piece, len(body)):] {
		text += frame(frameBody, channel, body[:min(piece, len(body))])
	}
	return text
}

type message struct {
	Body   string
	Format wire.Format
}

// separate reads a stream and returns the messages, and what the library is left.
func separate(from io.Reader) (messages []message, passed string, err error) {
	d := newDeliveries(from, Sink{
		Message: func(body []byte, f wire.Format) { messages = append(messages, message{string(body), f}) },
		Drained: func() {},
	})
	rest, err := io.ReadAll(d)
	return messages, string(rest), err
}

func TestMessagesAreTakenOutAndTheRestPasses(t *testing.T) {
	json := wire.Format{ContentType: "application/json"}
	large := strings.Repeat("x", 3*readSize)
	full := strings.Repeat("y", maxFrame-frameAround)
	heartbeat := frame(8, 0, "")
	opened := frame(frameMethod, 1, "\x00\x14\x00\x0b\x00\x00\x00\x00")
	// Another message, returned and not delivered, on another channel.
	returned := frame(frameMethod, 2, "\x00\x3c\x00\x32\x01\x38\x00\x00\x00") + frame(frameHeader, 2, strings.Repeat("\x00", 14)) + frame(frameBody, 2, "theirs")
	first := delivered(1, jsonProperties, "first", 100)
	second := delivered(1, jsonProperties, "in pieces", 4)
	cut := strings.Index(second, "in p") + len("in p") + 1 // behind the first piece
	stream := opened + first + heartbeat + second[:cut] + heartbeat + returned + second[cut:] + delivered(1, jsonProperties, "", 1) +
		delivered(1, jsonProperties, large, readSize-100) + delivered(1, jsonProperties, full, len(full)) + returned
	wantPassed := opened + heartbeat + heartbeat + returned + returned
	want := []message{{"first", json}, {"in pieces", json}, {"", json}, {large, json}, {full, json}}
	for name, from := range map[string]io.Reader{
		"whole": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
		"in halves": iotest.HalfReader(strings.NewReader(stream)), "with the end": iotest.DataErrReader(strings.NewReader(stream)),
	} {
		got, passed, err := separate(from)
		if diff := cmp.Diff(want, got); diff != "" || passed != wantPassed || err != nil {
			t.Errorf("%s: error %v, passed %q (-want +got):\n%s", name, err, passed, diff)
		}
	}
}

// TestADeliveryThatIsTooLargeIsPassedOver: whoever may publish could fill our memory, or end the subscription again and again.
func TestADeliveryThatIsTooLargeIsPassedOver(t *testing.T) {
	stream := delivered(1, jsonProperties, strings.Repeat("x", maxElement+1), maxFrame-frameAround) + delivered(1, jsonProperties, "next", 100)
	got, _, err := separate(strings.NewReader(stream))
	json := wire.Format{ContentType: "application/json"}
	if diff := cmp.Diff([]message{{"", json}, {"next", json}}, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func TestProperties(t *testing.T) {
	const all = "\xe0\x00" // content type, content encoding, headers
	encoded := short("Application/JSON") + short("utf-8")
	header := func(fields ...string) string { return all + encoded + long(strings.Join(fields, "")) }
	compression := short("compression") + "S" + long("application/x-gzip")
	json := wire.Format{ContentType: "application/json", ContentEncoding: "utf-8"}
	zipped := json
	zipped.Compression = "application/x-gzip"
	for name, tc := range map[string]struct {
		properties string
		want       wire.Format
	}{
		"none":                      {"\x00\x00", wire.Format{}},
		"content type only":         {jsonProperties, wire.Format{ContentType: "application/json"}},
		"headers only":              {"\x20\x00" + long(compression), wire.Format{Compression: "application/x-gzip"}},
		"compressed":                {header(compression), zipped},
		"with what we do not read":  {header(short("hostname")+"S"+long("celery@w1"), compression) + "\x01", zipped},
		"behind fields of any type": {header("\x01tt\x01", "\x01ss\x00\x01", "\x01II\x00\x00\x00\x01", "\x01dd\x00\x00\x00\x00\x00\x00\x00\x01", "\x01DD\x02\x00\x00\x00\x01", "\x01VV", "\x01FF"+long(short("compression")+"S"+long("no")), "\x01AA"+long("t\x01"), compression), zipped},
		"compression is no text":    {header(short("compression") + "I\x00\x00\x00\x01"), json},
		"headers cut short":         {header(compression[:len(compression)-1]), json},
		"nothing but flags":         {all, wire.Format{}},
		"a length beyond the end":   {"\x80\x00\xffshort", wire.Format{}},
		"a table beyond the end":    {all + encoded + "\xff\xff\xff\xff" + compression, json},
		"an unknown type":           {header("\x01??", compression), json},
		"a name that is too long":   {"\x80\x00" + short("application/json"+strings.Repeat("x", 200)), wire.Format{ContentType: ("application/json" + strings.Repeat("x", 200))[:maxName]}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, parseProperties([]byte(tc.properties))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestTheSizesOfFields: the fields behind one are found only if its size is known.
func TestTheSizesOfFields(t *testing.T) {
	for kind, size := range map[string]int{
		"t": 1, "b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "f": 4, "l": 8, "L": 8, "d": 8, "T": 8, "D": 5, "V": 0,
		"S": -1, "A": -1, "F": -1, "x": -1, // those begin with their length
	} {
		value := strings.Repeat("\x01", max(size, 0))
		if size < 0 {
			value = long("any")
		}
		table := fields{[]byte(short("before") + kind + value + short("compression") + "S" + long("zlib"))}
		if got := table.text("compression"); string(got) != "zlib" {
			t.Errorf("behind a field of type %s: %q", kind, got)
		}
	}
}

// TestWhatWasReadIsHandedOverBeforeMoreIsWaitedFor: the exporter counts when it is told so.
func TestWhatWasReadIsHandedOverBeforeMoreIsWaitedFor(t *testing.T) {
	stream := delivered(1, jsonProperties, "first", 100) + delivered(1, jsonProperties, "second", 100)
	cut := strings.Index(stream, "second")
	var events []string
	d := newDeliveries(io.MultiReader(strings.NewReader(stream[:cut]), strings.NewReader(stream[cut:])), Sink{
		Message: func(body []byte, _ wire.Format) { events = append(events, string(body)) },
		Drained: func() { events = append(events, "drained") },
	})
	if _, err := io.ReadAll(d); err != nil {
		t.Fatal(err)
	}
	if want := []string{"drained", "first", "drained", "second", "drained"}; !slices.Equal(events, want) {
		t.Errorf("%q, want %q", events, want)
	}
}

// TestWhatPropertiesSayIsNotRememberedForEver: every message may bring others.
func TestWhatPropertiesSayIsNotRememberedForEver(t *testing.T) {
	d := newDeliveries(strings.NewReader(""), Sink{})
	for i := range 3 * maxFormats {
		properties := "\x20\x00" + long(short("n")+"l"+string(binary.BigEndian.AppendUint64(nil, uint64(i)))+short("compression")+"S"+long("zlib"))
		if got := d.formatOf([]byte(properties)); got.Compression != "zlib" {
			t.Fatalf("properties %d: %+v", i, got)
		}
		if len(d.formats) > maxFormats {
			t.Fatalf("%d lists are remembered, want at most %d", len(d.formats), maxFormats)
		}
	}
	clear(d.formats)
	tooLong := "\x80\x00" + short("application/json") + strings.Repeat("x", maxProperties)
	if got := d.formatOf([]byte(tooLong)); got.ContentType != "application/json" || len(d.formats) != 0 {
		t.Errorf("%+v, %d remembered, want none of %d bytes", got, len(d.formats), len(tooLong))
	}
}

func TestWhatIsNoAMQPEndsTheReading(t *testing.T) {
	good := delivered(1, jsonProperties, "body", 100)
	badEnd := []byte(good)
	badEnd[len(badEnd)-1] = 0
	for name, tc := range map[string]struct {
		stream string
		want   error
	}{
		"no end of a frame":        {string(badEnd), errAMQP},
		"a header cut short":       {frame(frameMethod, 1, string(methodDeliver)) + frame(frameHeader, 1, "\x00\x3c"), errAMQP},
		"a frame too large":        {frame(frameMethod, 1, string(methodDeliver)) + "\x02\x00\x01\xff\xff\xff\xff", errAMQP},
		"a body before its header": {frame(frameMethod, 1, string(methodDeliver)) + frame(frameBody, 1, "body"), errAMQP},
		"a second header":          {strings.TrimSuffix(good, frame(frameBody, 1, "body")) + frame(frameHeader, 1, strings.Repeat("\x00", 14)), errAMQP},
		"another method between":   {strings.TrimSuffix(good, frame(frameBody, 1, "body")) + frame(frameMethod, 1, "\x00\x3c\x00\x32") + frame(frameBody, 1, "body"), nil},
		"an end in the middle":     {good[:len(good)-3], nil},
		"an end between frames":    {good[:len(good)-len(frame(frameBody, 1, "body"))], nil},
	} {
		t.Run(name, func(t *testing.T) {
			messages, _, err := separate(strings.NewReader(tc.stream))
			if !errors.Is(err, tc.want) || len(messages) != 0 {
				t.Errorf("error = %v, want %v; messages %v", err, tc.want, messages)
			}
		})
	}
}

// FuzzDeliveries: whatever comes, in whatever pieces, nothing panics, and the same is read.
func FuzzDeliveries(f *testing.F) {
	f.Add([]byte(frame(8, 0, "") + delivered(1, jsonProperties, "a body", 4) + frame(8, 0, "")))
	f.Add([]byte(delivered(2, "\xe0\x00"+short("application/json")+short("utf-8")+long(short("compression")+"S"+long("zlib")), "x", 1)))
	f.Add([]byte("AMQP\x00\x00\x09\x01"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, passed, err := separate(bytes.NewReader(stream))
		pieces, same, second := separate(iotest.OneByteReader(bytes.NewReader(stream)))
		if diff := cmp.Diff(whole, pieces); diff != "" || passed != same || (err == nil) != (second == nil) {
			t.Errorf("passed %q and %q, errors %v and %v (-whole +pieces):\n%s", passed, same, err, second, diff)
		}
		if len(passed) > len(stream) {
			t.Errorf("%d bytes of %d passed", len(passed), len(stream))
		}
	})
}
