// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// encoded returns an array of bulk strings as a server sends it.
func encoded(elements ...string) string {
	text := fmt.Sprintf("*%d\r\n", len(elements))
	for _, e := range elements {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(e), e)
	}
	return text
}

// all returns the replies up to the first error.
func all(from io.Reader) (got [][]string, err error) {
	r := newReplies(from, func() {})
	for {
		reply, err := r.next()
		if err != nil {
			return got, err
		}
		var texts []string
		for _, element := range reply {
			texts = append(texts, string(element))
		}
		got = append(got, texts)
	}
}

func TestRepliesAreReadHoweverTheyArrive(t *testing.T) {
	large := strings.Repeat("x", 3*readSize)
	want := [][]string{
		{"psubscribe", "/0.celeryev/*", "1"}, {"pmessage", "/0.celeryev/*", "/0.celeryev/task.sent", "a\r\nb"}, {"pong", ""},
		{"message", "c", large}, {"pmessage", "p", "c", ""}, {"message", "c", strings.Repeat("y", readSize-20)}, {"OK"},
	}
	stream := "*3\r\n$10\r\npsubscribe\r\n$13\r\n/0.celeryev/*\r\n:1\r\n"
	for _, reply := range want[1:6] {
		stream += encoded(reply...)
	}
	stream += "+OK\r\n"
	for name, from := range map[string]io.Reader{
		"whole": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
		"in halves":    iotest.HalfReader(strings.NewReader(stream)),
		"with the end": iotest.DataErrReader(strings.NewReader(stream)),
	} {
		got, err := all(from)
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, io.EOF) {
			t.Errorf("%s: error %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestAReplyGoesOnAfterATimeout(t *testing.T) {
	stream := encoded("message", "c", "body")
	r := newReplies(io.MultiReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(stream)))), func() {})
	timeouts := 0
	for {
		reply, err := r.next()
		if errors.Is(err, iotest.ErrTimeout) {
			timeouts++
			continue
		}
		if err != nil || timeouts != 1 || string(reply[2]) != "body" {
			t.Fatalf("reply %q after %d timeouts, error %v", reply, timeouts, err)
		}
		return
	}
}

func TestTheBufferOfALargeMessageIsGivenBack(t *testing.T) {
	stream := encoded("message", "c", strings.Repeat("x", 4<<20)) + encoded("message", "c", "y") +
		encoded("message", "c", "z")
	r := newReplies(iotest.HalfReader(strings.NewReader(stream)), func() {})
	for range 3 {
		if _, err := r.next(); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = r.next() // the end
	if len(r.buffer) != readSize {
		t.Errorf("a buffer of %d bytes is kept", len(r.buffer))
	}
}

func TestAMessageThatIsTooLargeIsPassedOver(t *testing.T) {
	stream := encoded("message", "c", strings.Repeat("x", maxElement+1)) + encoded("message", "c", "next")
	want := [][]string{{"message", "c", ""}, {"message", "c", "next"}}
	for name, from := range map[string]io.Reader{
		"whole": strings.NewReader(stream), "in halves": iotest.HalfReader(strings.NewReader(stream)),
	} {
		got, err := all(from)
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, io.EOF) {
			t.Errorf("%s: error %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestWhatIsNoReplyIsRefused(t *testing.T) {
	tests := map[string]struct {
		text string
		want string
	}{
		"HTTP": {"HTTP/1.1 400 Bad Request\r\n\r\n", errProtocol.Error()},
		"an error": {
			"-NOPERM this user has no permissions\r\n", "NOPERM this user has no permissions",
		},
		"no length":         {"*x\r\n", errProtocol.Error()},
		"a negative length": {"*-1\r\n", errProtocol.Error()},
		"a long array":      {"*9\r\n", errProtocol.Error()},
		"an array within":   {"*1\r\n*1\r\n", errProtocol.Error()},
		"a length of ten":   {"*1\r\n$1000000000\r\n", errProtocol.Error()},
		"a large channel":   {"*2\r\n$16777217\r\n", errTooLarge.Error()},
		"no end":            {"*1\r\n$1\r\nxyz", errProtocol.Error()},
		"an empty line":     {"\r\n", errProtocol.Error()},
		"an endless line":   {"+" + strings.Repeat("x", 2*maxLine), errProtocol.Error()},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := all(strings.NewReader(tc.text))
			if len(got) != 0 || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%d replies, error %v, want %q", len(got), err, tc.want)
			}
		})
	}
}

// FuzzReplies checks that any stream is read the same in one piece and byte by byte, and that what
// is read is there.
func FuzzReplies(f *testing.F) {
	for _, text := range []string{
		encoded("message", "c", "x"), "+PONG\r\n", ":1\r\n", "-ERR x\r\n", "*2\r\n$-1\r\n:5\r\n", "*1\r\n$3\r\nab",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, _ := all(bytes.NewReader(stream))
		single, _ := all(iotest.OneByteReader(bytes.NewReader(stream)))
		if diff := cmp.Diff(whole, single); diff != "" {
			t.Errorf("whole and byte by byte differ:\n%s", diff)
		}
		for _, reply := range whole {
			for _, element := range reply {
				if !bytes.Contains(stream, []byte(element)) {
					t.Errorf("%q is not in the stream", element)
				}
			}
		}
	})
}
