// SPDX-License-Identifier: Apache-2.0

package brokerurl

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	tests := map[string]Address{
		"redis://localhost":        {Kind: Redis, Hosts: []string{"localhost:6379"}},
		"redis://":                 {Kind: Redis, Hosts: []string{"localhost:6379"}},
		"redis://:p%40ss@r:6380/3": {Kind: Redis, Hosts: []string{"r:6380"}, Password: "p@ss", Database: 3},
		"redis://user:pw@r/1": {
			Kind: Redis, Hosts: []string{"r:6379"}, User: "user", Password: "pw", Database: 1,
		},
		"redis://r?virtual_host=4":          {Kind: Redis, Hosts: []string{"r:6379"}, Database: 4},
		"rediss://[::1]:1/0":                {Kind: Redis, Hosts: []string{"[::1]:1"}, TLS: true},
		"redis://a;redis://b:2/5":           {Kind: Redis, Hosts: []string{"a:6379", "b:2"}, Database: 5},
		"redis+socket:///run/r.sock":        {Kind: Redis, Hosts: []string{"/run/r.sock"}, Socket: true},
		"redis+socket:///r?virtual_host=2":  {Kind: Redis, Hosts: []string{"/r"}, Socket: true, Database: 2},
		"redis+socket://u:p%2F@/r":          {Kind: Redis, Hosts: []string{"/r"}, Socket: true, User: "u", Password: "p/"},
		"sentinel://:pw@a;sentinel://b:1/2": {Kind: Sentinel, Hosts: []string{"a:26379", "b:1"}, Password: "pw", Database: 2},
		"amqp://":                           {Kind: RabbitMQ, Hosts: []string{"localhost:5672"}, VirtualHost: "/"},
		"amqp://u:secret@mq/": {
			Kind: RabbitMQ, Hosts: []string{"mq:5672"}, User: "u", Password: "secret", VirtualHost: "/",
		},
		"amqp://mq//":               {Kind: RabbitMQ, Hosts: []string{"mq:5672"}, VirtualHost: "/"},
		"pyamqp://mq/shop":          {Kind: RabbitMQ, Hosts: []string{"mq:5672"}, VirtualHost: "shop"},
		"librabbitmq://mq":          {Kind: RabbitMQ, Hosts: []string{"mq:5672"}, VirtualHost: "/"},
		"redis://:^<>|{}%%zz%4@r":   {Kind: Redis, Hosts: []string{"r:6379"}, Password: "^<>|{}%%zz%4"},
		"redis://:a b@c\"`\\@r/1#x": {Kind: Redis, Hosts: []string{"r:6379"}, Password: "a b@c\"`\\", Database: 1},
		"amqps://mq/%2Fshop":        {Kind: RabbitMQ, Hosts: []string{"mq:5671"}, VirtualHost: "/shop", TLS: true},
	}
	for text, want := range tests {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Address{}),
			cmpopts.IgnoreFields(Address{}, "Query")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if got.Password != "" && strings.Contains(got.String(), got.Password) {
			t.Errorf("%s: the password is shown: %s", text, got)
		}
	}
}

func TestParseRefusesWithoutThePassword(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "the URL is empty",
		"localhost":                      "an unknown scheme, or none",
		"http://u:secret@h":              "an unknown scheme, or none",
		"u:secret@h":                     "an unknown scheme, or none",
		"sqs://k:secret@":                "sqs:// is not supported: Celery's transport for it has no broadcast",
		"SQS://":                         "sqs:// is not supported: Celery's transport for it has no broadcast",
		"sqla+postgresql://u:secret@h":   "an unknown scheme, or none",
		"memory://":                      "memory:// is not supported: it is inside one process",
		"rediscluster://:secret@h":       "no transport for Redis Cluster",
		"redis://u:secret@host:port":     "the URL redis://...: the port is not a number from 1 to 65535",
		"redis://u:secret@h/name":        "the database is not a number",
		"redis://u:secret@h:70000":       "the port is not a number",
		"redis://h/-1":                   "the database is not a number",
		"redis://a;amqp://u:secret@b":    "different schemes",
		"redis+socket://relative":        "the path of the socket is not absolute",
		"redis+socket://u:sec%zz@x":      "the path of the socket is not absolute",
		"redis://u:secret@h?%zz=1;x":     "malformed options",
		"redis://:secret":                "the port is not a number",
		"redis://:secret?x@h":            "an @ behind the host",
		"redis://:12?secret@h":           "an @ behind the host",
		"redis://:12/secret@h":           "an @ behind the host",
		"amqp://u:12/secret@h/v":         "an @ behind the host",
		"amqp://u:12#secret@h/v":         "an @ behind the host",
		"redis+socket://:12?secret@/x":   "an @ behind the host",
		"redis://:sec;ret@h":             "the port is not a number",
		"redis://:12;secret@h":           "an unknown scheme, or none",
		"redis://:secret@[::1":           "the port is not a number",
		"redis://secret@h:x;redis://h:1": "the port is not a number",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec%") {
			t.Errorf("%s: the password is shown: %v", text, err)
		}
	}
}

// FuzzParse puts a password of any characters into a URL. Nothing of it, wherever the URL was cut,
// is in the error, or in the address as it is printed: not even three characters that do not stand
// there anyway.
func FuzzParse(f *testing.F) {
	for _, seed := range [][3]string{
		{"redis://u:", "hunter2", "@h:1/2"}, {"redis://:", "hunter2?x", "@h"}, {"redis://:", "hunter2", ""},
		{"redis://:", "hun;ter2", "@h"},
		{"redis://", "hunter2", "@h"}, {"amqp://u:", "12/34", "@h/v"}, {"redis://:", "12#hunter2", "@h"},
		{"redis://:", "a%b^<>|{}", "@h"},
		{"sentinel://a;sentinel://:", "p;sentinel://b", "@b/1"}, {"redis+socket://u:", "hunter2", "@/x?virtual_host=1"},
		{"amqps://u:", "[::1", "@h"},
		{"sqs://key:", "hunter2", "@"}, {"", "hunter2", ""}, {"redis://:", "a@b", "@h:x"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, before, password, after string) {
		text := before + password + after
		address, err := Parse(text)
		shown := address.String()
		if err != nil {
			shown = err.Error()
		} else if len(address.Hosts) == 0 {
			t.Errorf("%q: no host", text)
		}
		// Without an @ before or behind it, what was meant as a password is a host and a port, or a
		// path.
		if err == nil && (!strings.HasPrefix(after, "@") ||
			strings.ContainsAny(before, "@/?#;") && !strings.HasSuffix(before, "//:")) {
			return
		}
		usual := before + after + strings.Join(slices.Collect(maps.Values(unsupported)), " ") + wordsOfErrors
		for i := 0; i+3 <= len(password); i++ {
			if piece := password[i : i+3]; strings.Contains(shown, piece) && !strings.Contains(usual, piece) {
				t.Errorf("%q: %q of the password is in %q", text, piece, shown)
			}
		}
	})
}

// wordsOfErrors is all that errors say by themselves, and the schemes.
const wordsOfErrors = "the URL is empty; accepted are the alternatives behind the semicolons have different " +
	"schemes:// is not supported: " +
	"the URL has an unknown scheme, or none the URL redis+socket://...: the URL sentinel://...: the URL " +
	"librabbitmq://...: " +
	"there is an @ behind the host; write the special characters of the password percent-encoded, such as %2F for / " +
	"malformed options behind the question mark the port is not a number from 1 to 65535 the database is not a number " +
	"the path of the socket is not absolute ***@localhost:6379/0 amqps://..."
