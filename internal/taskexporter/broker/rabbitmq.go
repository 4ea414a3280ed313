// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// How long RabbitMQ keeps our queue after its connection broke, and messages in it, in
// milliseconds; and how many bytes. Celery's own receivers lose what is older than five seconds;
// ours is found again after a short interruption.
const (
	queueExpires  = 60_000
	queueMaxBytes = 64 << 20
)

// queueType is asked for, because the default of a virtual host may be a replicated queue, which
// writes each event to disks.
const queueType = "classic"

// rabbitMQ is RabbitMQ as Celery uses it: events on a topic exchange, bodies without kombu's
// envelope.
type rabbitMQ struct {
	address brokerurl.Address
	options Options
	tls     *tls.Config
	hosts   hosts

	once  sync.Once
	queue string

	mu      sync.Mutex
	serving *serving // our turn in a group
	leaving bool     // no more turns
}

// link is a connection, and the reader below it.
type link struct {
	*amqp.Connection
	reader *connReader
	socket net.Conn
}

// cut closes the network's connection, which ends what waits for the server. The library's own
// Close would wait for it.
func (l *link) cut() { l.socket.Close() }

// closeTimeout is how long a server may take to confirm a close. One with an alarm does not.
const closeTimeout = 200 * time.Millisecond

// Close closes in order, because a server logs a warning about a connection that just ends.
func (l *link) Close() {
	timer := time.AfterFunc(closeTimeout, l.cut)
	defer timer.Stop()
	_ = l.Connection.Close() // it may be closed
}

// dial connects for everything that is not events, to the server that they come from.
func (b *rabbitMQ) dial(ctx context.Context, name string) (*link, error) {
	host := b.hosts.asked()
	if host == "" {
		host = b.hosts.following(b.address.Hosts)
	}
	return b.dialHost(ctx, host, name)
}

// dialHost connects and logs in. The network's connection is made here, not by the library, for two
// reasons: it would write the first host's name into the TLS settings that all share; and it would
// move the deadline of the reads with each frame, which takes a third of its time.
func (b *rabbitMQ) dialHost(ctx context.Context, host, name string) (*link, error) {
	socket, reader, err := connect(ctx, "tcp", host, b.tls, silenceLimit)
	if err != nil {
		return nil, &ConnectError{err}
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	address := b.address.At(host)
	connection, err := amqp.Open(&stream{bufio.NewReaderSize(socket, readSize), socket}, amqp.Config{
		SASL: []amqp.Authentication{b.login(address)}, Vhost: address.VirtualHost, Locale: "en_US", Properties: properties,
		Heartbeat: silenceLimit / 3, FrameSize: readSize,
	})
	if err != nil {
		socket.Close()
		return nil, &ConnectError{err}
	}
	return &link{connection, reader, socket}, nil
}

// login returns how the exporter identifies itself: by kombu's default user, by the URL's, or by
// its certificate.
func (b *rabbitMQ) login(at brokerurl.Address) amqp.Authentication {
	user, password := "guest", "guest"
	if at.User != "" {
		user, password = at.User, at.Password
	}
	switch b.options.LoginMethod {
	case "EXTERNAL":
		return &amqp.ExternalAuth{}
	case "AMQPLAIN":
		return &amqp.AMQPlainAuth{Username: user, Password: password}
	}
	return &amqp.PlainAuth{Username: user, Password: password}
}

// stream is all that the library needs of a connection, and no more: were there a deadline to set,
// it would.
type stream struct {
	io.Reader
	io.WriteCloser
}

// Receive consumes a queue of our own, or of our group, without acknowledgements, that is bound to
// all events.
func (b *rabbitMQ) Receive(ctx context.Context, to Sink) error {
	b.once.Do(func() { b.queue = b.queueName() })
	host := b.hosts.following(b.address.Hosts)
	connection, err := b.dialHost(ctx, host, "obstack task exporter: events")
	if err != nil {
		return err
	}
	defer connection.Close()
	b.hosts.serve(host)
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	channel, err := b.declare(connection.Connection)
	if err != nil {
		return err
	}
	if b.options.Handover != "" {
		err = b.receiveInTurn(ctx, connection, channel, to)
	} else {
		err = b.receiveAll(ctx, connection, channel, to)
	}
	if errors.Is(err, errEnded) {
		return closeReason(closed)
	}
	return err
}

// receiveAll consumes a queue that is ours alone.
func (b *rabbitMQ) receiveAll(ctx context.Context, connection *link, channel *amqp.Channel, to Sink) error {
	// Nothing is acknowledged: an event that is lost with the connection is worth less than a
	// message back for each.
	deliveries, err := channel.Consume(b.queue, consumerTag, true, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	connection.reader.paced.Store(true)
	to.Subscribed()
	if err = deliver(ctx, deliveries, to); errors.Is(err, errEnded) {
		return err
	}
	connection.reader.paced.Store(false)
	return b.abandon(connection.Connection, err)
}

// consumerTag names our consumer on its channel.
const consumerTag = "events"

// errEnded is returned when the server, or the network, ended a subscription.
var errEnded = errors.New("the subscription ended")

// deliver hands messages over until the context or the subscription ends.
func deliver(ctx context.Context, deliveries <-chan amqp.Delivery, to Sink) error {
	for {
		var message amqp.Delivery
		open := true
		select {
		case message, open = <-deliveries:
		default:
			to.Drained()
			select {
			case message, open = <-deliveries:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !open {
			to.Drained() // nobody else would say so of the last ones
			return errEnded
		}
		to.deliver(&message)
	}
}

// deliver hands one message over. One that is too large is empty, which is counted as not
// understood, as on Redis.
func (s Sink) deliver(message *amqp.Delivery) {
	if len(message.Body) > maxElement {
		message.Body = nil
	}
	s.Message(message.Body, formatOf(message))
}

// formatOf returns the properties that kombu puts into its envelope on Redis.
func formatOf(message *amqp.Delivery) wire.Format {
	compression, _ := message.Headers["compression"].(string)
	return wire.Format{
		ContentType: name(strings.ToLower(message.ContentType)), ContentEncoding: name(message.ContentEncoding),
		Compression: name(compression),
	}
}

// maxName bounds the name of a content type, an encoding or a compression, in bytes. Longer ones
// are not known anyway, and are kept with each message that waits.
const maxName = 64

func name(text string) string { return text[:min(len(text), maxName)] }

// abandon deletes the queue when the exporter stops, instead of leaving it to expire.
func (b *rabbitMQ) abandon(connection *amqp.Connection, reason error) error {
	channel, err := connection.Channel()
	if err != nil {
		return reason
	}
	_, _ = channel.QueueDelete(b.queue, false, false, true) // it expires anyway
	return reason
}

// closeReason returns why the server, or the network, ended the deliveries.
func closeReason(closed <-chan *amqp.Error) error {
	select {
	case reason := <-closed:
		if reason != nil {
			return fmt.Errorf("receive: %w", reason)
		}
	case <-time.After(time.Second):
	}
	return errors.New("receive: the server ended the subscription")
}

// declare makes our queue, bound to all events.
func (b *rabbitMQ) declare(connection *amqp.Connection) (*amqp.Channel, error) {
	channel, err := b.exchange(connection)
	if err != nil {
		return nil, err
	}
	// Durable, because RabbitMQ 4 deprecates queues that are neither durable nor exclusive, and an
	// exclusive one would not outlive an interruption. The messages in it are transient all the
	// same.
	arguments := amqp.Table{
		"x-expires": int32(queueExpires), "x-message-ttl": int32(queueExpires), "x-max-length-bytes": int32(queueMaxBytes),
		"x-queue-type": queueType,
	}
	if _, err := channel.QueueDeclare(b.queue, true, false, false, false, arguments); err != nil {
		return nil, fmt.Errorf("declare a queue for events: %w", err)
	}
	if err := channel.QueueBind(b.queue, "#", b.options.Exchange, false, nil); err != nil {
		return nil, fmt.Errorf("bind to the exchange %s: %w", b.options.Exchange, err)
	}
	return channel, nil
}

// exchange returns a channel on a connection whose broker has the event exchange. One that is there
// is left as it is, because a declaration that differs, or that the user may not make, closes the
// channel.
func (b *rabbitMQ) exchange(connection *amqp.Connection) (*amqp.Channel, error) {
	channel, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	err = channel.ExchangeDeclarePassive(b.options.Exchange, "topic", true, false, false, false, nil)
	if err == nil {
		return channel, nil
	}
	if !notFound(err) {
		return nil, fmt.Errorf("look for the exchange %s: %w", b.options.Exchange, err)
	}
	if channel, err = connection.Channel(); err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	if err := channel.ExchangeDeclare(b.options.Exchange, "topic", true, false, false, false, nil); err != nil {
		return nil, fmt.Errorf("declare the exchange %s: %w", b.options.Exchange, err)
	}
	return channel, nil
}

func notFound(err error) bool {
	var reason *amqp.Error
	return errors.As(err, &reason) && reason.Code == amqp.NotFound
}
