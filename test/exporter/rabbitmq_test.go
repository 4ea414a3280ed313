// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"compress/zlib"
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// started returns the JSON of events that tasks were started.
func started(events int) []byte {
	one := `{"type": "task-started", "hostname": "w@h", "uuid": "u", "timestamp": 1}`
	return []byte("[" + strings.Repeat(one+", ", events-1) + one + "]")
}

func zipped(t *testing.T, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestMessagesOfRabbitMQ: their properties and sizes are read from the wire as sent.
func TestMessagesOfRabbitMQ(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	e := startReady(t, server.URL("shop"))
	connection, err := amqp.Dial(server.URL("shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	headers := amqp.Table{
		"hostname": "w@h", "number": int32(1), "large": int64(1), "fraction": 0.5, "yes": true, "nothing": nil,
		"at":   time.Unix(1, 0),
		"list": []any{"compression", int64(7)}, "table": amqp.Table{"compression": "none"},
		"decimal": amqp.Decimal{Scale: 1, Value: 1}, "bytes": []byte{1},
	}
	json := func(body []byte, headers amqp.Table) amqp.Publishing {
		return amqp.Publishing{ContentType: "application/json", ContentEncoding: "utf-8", Headers: headers, Body: body}
	}
	compressed := maps.Clone(headers)
	compressed["compression"] = "application/x-gzip"
	everything := json(started(1), headers)
	everything.CorrelationId, everything.ReplyTo, everything.MessageId = "c", "r", "m"
	everything.Type, everything.AppId = "t", "a"
	everything.Priority, everything.Timestamp = 3, time.Unix(1, 0)
	everything.Expiration, everything.DeliveryMode = "60000", 2
	want := 0.0
	for _, tc := range []struct {
		name      string
		message   amqp.Publishing
		events    float64
		malformed float64
	}{
		{"plain", json(started(1), nil), 1, 0},
		{"with headers of all types", json(started(1), headers), 1, 0},
		{"with all properties", everything, 1, 0},
		{"compressed", json(zipped(t, started(3)), compressed), 3, 0},
		// A table is written in another order each time.
		{"compressed again", json(zipped(t, started(3)), compressed), 3, 0},
		{"and again", json(zipped(t, started(3)), compressed), 3, 0},
		{"and once more", json(zipped(t, started(3)), compressed), 3, 0},
		{"the last time", json(zipped(t, started(3)), compressed), 3, 0},
		{"of several frames", json(started(5000), headers), 5000, 0},
		{"empty", json(nil, headers), 0, 1},
		{"without a content type", amqp.Publishing{Body: started(1)}, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			malformed := total(e.counts("celery_exporter_malformed"))
			if err := channel.PublishWithContext(context.Background(), "celeryev", "task.multi", false, false,
				tc.message); err != nil {
				t.Fatal(err)
			}
			want += tc.events
			eventually(t, "the message is counted", func() bool {
				return e.counts("celery_exporter_events")["{task-started}"] == want &&
					total(e.counts("celery_exporter_malformed")) == malformed+tc.malformed
			})
		})
	}
}

// total is the sum of all series.
func total(counts map[string]float64) (sum float64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}
