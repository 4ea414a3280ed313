// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// plainReader is what the exporter is compared with: go-redis and the same decoder, and nothing done with the events.
// It prints a line when it is subscribed and then one for each ten thousand events.
func plainReader(address string) error {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: address, Protocol: 2})
	sub := client.PSubscribe(ctx, "/0.celeryev/*")
	if _, err := sub.Receive(ctx); err != nil {
		return err
	}
	fmt.Println(0)
	var decoder wire.Decoder
	events, told := 0, 0
	for {
		message, err := sub.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		list, _, err := decoder.Decode([]byte(message.Payload), wire.Format{Enveloped: true})
		if err != nil {
			return err
		}
		if events += len(list); events-told >= 10_000 {
			told = events
			fmt.Println(events)
		}
	}
}

// drainPlain returns the rate at which the plain reader works off a stream, in a process of its own.
func drainPlain(port int, blocks []block, events int) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	command := exec.Command(self, "-reader", fmt.Sprintf("127.0.0.1:%d", port))
	output, err := command.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := command.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait() // killed
	}()
	lines := bufio.NewScanner(output)
	lines.Scan()
	began := time.Now()
	published := make(chan error, 1)
	go func() {
		_, err := publishRedis(port, blocks, events, 0)
		published <- err
	}()
	for lines.Scan() {
		var got int
		if _, err := fmt.Sscan(lines.Text(), &got); err != nil {
			return 0, err
		}
		if got >= events-20_000 {
			return float64(got) / time.Since(began).Seconds(), <-published
		}
	}
	return 0, errors.New("the plain reader ended")
}
