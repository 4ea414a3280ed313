// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	tests := map[string]Address{
		"redis://localhost":                 {Kind: Redis, Hosts: []string{"localhost:6379"}},
		"redis://":                          {Kind: Redis, Hosts: []string{"localhost:6379"}},
		"redis://:p%40ss@r:6380/3":          {Kind: Redis, Hosts: []string{"r:6380"}, Password: "p@ss", Database: 3},
		"redis://user:pw@r/1":               {Kind: Redis, Hosts: []string{"r:6379"}, User: "user", Password: "pw", Database: 1},
		"redis://r?virtual_host=4":          {Kind: Redis, Hosts: []string{"r:6379"}, Database: 4},
		"rediss://[::1]:1/0":                {Kind: Redis, Hosts: []string{"[::1]:1"}, TLS: true},
		"redis://a;redis://b:2/5":           {Kind: Redis, Hosts: []string{"a:6379", "b:2"}, Database: 5},
		"redis+socket:///run/r.sock":        {Kind: Redis, Hosts: []string{"/run/r.sock"}, Socket: true},
		"redis+socket:///r?virtual_host=2":  {Kind: Redis, Hosts: []string{"/r"}, Socket: true, Database: 2},
		"redis+socket://u:p%2F@/r":          {Kind: Redis, Hosts: []string{"/r"}, Socket: true, User: "u", Password: "p/"},
		"sentinel://:pw@a;sentinel://b:1/2": {Kind: Sentinel, Hosts: []string{"a:26379", "b:1"}, Password: "pw", Database: 2},
		"amqp://":                           {Kind: RabbitMQ, Hosts: []string{"localhost:5672"}, VirtualHost: "/"},
		"amqp://u:secret@mq/":               {Kind: RabbitMQ, Hosts: []string{"mq:5672"}, User: "u", Password: "secret", VirtualHost: "/"},
		"amqp://mq//":                       {Kind: RabbitMQ, Hosts: []string{"mq:5672"}, VirtualHost: "/"},
		"pyamqp://mq/shop":                  {Kind: RabbitMQ, Hosts: []string{"mq:5672"}, VirtualHost: "shop"},
		"amqps://mq/%2Fshop":                {Kind: RabbitMQ, Hosts: []string{"mq:5671"}, VirtualHost: "/shop", TLS: true},
	}
	for text, want := range tests {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Address{}), cmpopts.IgnoreFields(Address{}, "Query")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if got.Password != "" && strings.Contains(got.String(), got.Password) {
			t.Errorf("%s: the password is shown: %s", text, got)
		}
	}
}

func TestBadURLsAreRefusedWithoutTheirPassword(t *testing.T) {
	for _, text := range []string{
		"", "localhost", "sqs://k:secret@", "redis://u:secret@host:port", "redis://u:secret@h/name", "redis://u:secret@h:70000", "redis://u:sec%zzret@h",
		"redis://a;amqp://u:secret@b", "redis+socket://relative", "redis+socket://u:secret%zz@/x", "redis://h/-1", "http://u:secret@h", "u:secret@h",
		"redis://u:secret@h?%zz=1;x", "redis://u:se/cret@h",
	} {
		_, err := Parse(text)
		if err == nil {
			t.Errorf("%s was accepted", text)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret@") || strings.Contains(err.Error(), "sec%") {
			t.Errorf("the password is shown: %v", err)
		}
		if !strings.Contains(err.Error(), "accepted are redis://") {
			t.Errorf("%s: the error does not say what is accepted: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"redis://u:p@h:1/2", "sentinel://a;sentinel://b/1", "redis+socket:///x?virtual_host=1", "amqp://u:p@h/v"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		address, err := Parse(text)
		if err == nil && len(address.Hosts) == 0 {
			t.Errorf("%q: no host", text)
		}
		_ = address.String()
	})
}
