// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"io"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
)

func TestRefusedIsWhatTheBrokerDoesNotAllow(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{replyError("NOPERM User x has no permissions to run the 'publish' command"), true},
		{replyError("WRONGTYPE Operation against a key holding the wrong kind of value"), true},
		{replyError("LOADING Redis is loading the dataset in memory"), false},
		{replyError("READONLY You can't write against a read only replica."), false},
		{replyError("MASTERDOWN Link with MASTER is down"), false},
		{redis.Nil, false},
		{&amqp.Error{Code: amqp.AccessRefused}, true},
		{&amqp.Error{Code: amqp.ResourceLocked}, true},
		{amqp.ErrCredentials, true},
		{amqp.ErrClosed, false},
		{&amqp.Error{Code: amqp.InternalError}, false},
		{fmt.Errorf("%w: low on memory", ErrBlocked), true},
		{io.EOF, false},
		{errors.New("dial tcp: connection refused"), false},
	} {
		if got := Refused(&ConnectError{fmt.Errorf("ask: %w", tc.err)}); got != tc.want {
			t.Errorf("Refused(%v) = %v", tc.err, got)
		}
	}
}
