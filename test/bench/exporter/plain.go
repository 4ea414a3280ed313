// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// plainReader is what the exporter is compared with: go-redis and the same decoder, and nothing done with the events.
// It prints a line when it is subscribed and then one for each ten thousand events.
func plainReader(address string) {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: address, Protocol: 2})
	sub := client.PSubscribe(ctx, "/0.celeryev/*")
	_, err := sub.Receive(ctx)
	check(err)
	fmt.Println(0)
	var decoder wire.Decoder
	events, told := 0, 0
	for {
		message, err := sub.ReceiveMessage(ctx)
		check(err)
		list, _, err := decoder.Decode([]byte(message.Payload), wire.Format{Enveloped: true})
		check(err)
		if events += len(list); events-told >= 10_000 {
			told = events
			fmt.Println(events)
		}
	}
}

// drainPlain returns the rate at which the plain reader works off a stream, in a process of its own.
func (b *bench) drainPlain(server program, blocks []block, events int) float64 {
	self, err := os.Executable()
	check(err)
	command := exec.Command(self, "-reader", fmt.Sprintf("127.0.0.1:%d", server.port))
	output, err := command.StdoutPipe()
	check(err)
	check(command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait() // killed
	}()
	lines := bufio.NewScanner(output)
	lines.Scan()
	began := time.Now()
	go publishRedis(server.port, blocks, 0)
	for got := 0; got < events-20_000 && lines.Scan(); {
		_, err := fmt.Sscan(lines.Text(), &got)
		check(err)
		if got >= events-20_000 {
			return float64(got) / time.Since(began).Seconds()
		}
	}
	panic("the plain reader ended")
}
