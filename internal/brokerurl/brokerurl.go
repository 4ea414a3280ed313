// SPDX-License-Identifier: Apache-2.0

// Package brokerurl reads the URLs of Celery's brokers as kombu does. No part of a password is in
// its errors, which the operator shows in conditions and the task exporter in its log.
package brokerurl

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Accepted are the URLs that Parse accepts, for error messages and help.
const Accepted = "redis://[USER:PASSWORD@]HOST[:6379][/DB], rediss:// (the same over TLS), " +
	"redis+socket:///PATH[?virtual_host=DB], sentinel://[:PASSWORD@]HOST[:26379][;sentinel://HOST2...][/DB] " +
	"(with the transport option master_name), amqp://[USER:PASSWORD@]HOST[:5672][/VHOST], also written pyamqp:// or " +
	"librabbitmq://, and amqps:// (the same over TLS)"

// Kind is what speaks at the other end.
type Kind int

// The kinds of brokers.
const (
	Redis Kind = iota
	Sentinel
	RabbitMQ
)

// Address is where a broker is and how to log in. Its String masks the password.
type Address struct {
	Kind Kind
	// Hosts are host:port pairs: the sentinels, or servers to be tried in turn; for a socket, its
	// path.
	Hosts []string
	// Socket is set if Hosts are paths of Unix sockets.
	Socket bool
	// TLS is set for the schemes that demand it.
	TLS bool
	// User and Password are empty if the URL has none.
	User, Password string
	// Database is Redis' number; VirtualHost is RabbitMQ's.
	Database    int
	VirtualHost string
	// Query are the options in the URL, such as ssl_ca_certs.
	Query url.Values

	scheme string
	// alternatives are those behind semicolons.
	alternatives []Address
}

type scheme struct {
	kind   Kind
	port   string
	tls    bool
	socket bool
}

var schemes = map[string]scheme{
	"redis":        {kind: Redis, port: "6379"},
	"rediss":       {kind: Redis, port: "6379", tls: true},
	"redis+socket": {kind: Redis, socket: true},
	"socket":       {kind: Redis, socket: true},
	"sentinel":     {kind: Sentinel, port: "26379"},
	"amqp":         {kind: RabbitMQ, port: "5672"},
	"pyamqp":       {kind: RabbitMQ, port: "5672"},
	"librabbitmq":  {kind: RabbitMQ, port: "5672"},
	"amqps":        {kind: RabbitMQ, port: "5671", tls: true},
}

// unsupported are kombu's other transports, and why they are refused.
var unsupported = map[string]string{
	"sqs": noEvents, "azureservicebus": noEvents, "azurestoragequeues": noEvents, "sqla": noEvents, "sqlalchemy": noEvents,
	"zookeeper": noEvents, "consul": noEvents, "etcd": noEvents, "slmq": noEvents, "pyro": noEvents,
	"kafka": noEvents, "confluentkafka": noEvents,
	"mongodb": otherBroker, "gcpubsub": otherBroker, "pgmq": otherBroker, "qpid": otherBroker,
	"filesystem":   "it is a folder that programs on one machine share; the exporter reads Redis and RabbitMQ",
	"memory":       "it is inside one process, where nobody else can listen; the exporter reads Redis and RabbitMQ",
	"rediscluster": "kombu, and so Celery, has no transport for Redis Cluster; use redis:// or sentinel://",
}

// SchemeError says why a URL is not that of a broker which anybody here can read.
type SchemeError string

func (e SchemeError) Error() string { return string(e) }

// Schemes are those that Parse accepts, sorted.
func Schemes() []string { return slices.Sorted(maps.Keys(schemes)) }

const (
	// kombu/transport/*.py, whose Transport.implements lists no fanout exchange.
	noEvents = "Celery's transport for it has no broadcast, so workers neither send events over it nor hear questions; " +
		"the exporter reads Redis and RabbitMQ"
	otherBroker = "the exporter reads Redis and RabbitMQ only"
)

// Parse reads a broker URL as kombu does, alternatives separated by semicolons. Space around it is
// cut off: a Secret made from a file ends in a new line more often than not.
//
// An error says of the URL nothing but its scheme, because any other part may be a piece of a
// password whose special characters are not percent-encoded.
func Parse(text string) (Address, error) {
	if text = strings.TrimSpace(text); text == "" {
		return Address{}, SchemeError("the URL is empty")
	}
	var address Address
	for i, part := range strings.Split(text, ";") {
		one, err := parseOne(strings.TrimSpace(part))
		if err == nil && i > 0 && (one.Kind != address.Kind || one.TLS != address.TLS || one.Socket != address.Socket) {
			err = errors.New("the alternatives behind the semicolons have different schemes")
		}
		if err != nil {
			return Address{}, err
		}
		if i == 0 {
			address = one
			continue
		}
		// Kombu knows alternatives of one transport only, and what follows would have no meaning
		// for others.
		address.merge(one)
	}
	return address, nil
}

// At returns the address with the login and the virtual host of one of the hosts. Alternatives have
// their own; sentinels share what is behind any of them.
func (a Address) At(host string) Address {
	for _, other := range a.alternatives {
		if other.Hosts[0] == host {
			return other
		}
	}
	return a
}

// merge adds an alternative. Kombu writes the database and the password behind any of several
// sentinels.
func (a *Address) merge(other Address) {
	a.Hosts = append(a.Hosts, other.Hosts...)
	if other.Database != 0 {
		a.Database = other.Database
	}
	switch {
	case a.Kind != Sentinel:
		a.alternatives = append(a.alternatives, other)
	case a.Password == "":
		a.User, a.Password = other.User, other.Password
	}
}

// parseOne reads one URL. Its errors hold no part of it but the scheme.
func parseOne(text string) (Address, error) {
	name, rest, found := strings.Cut(text, "://")
	s, known := schemes[name]
	switch {
	case found && unsupported[strings.ToLower(name)] != "":
		name = strings.ToLower(name)
		return Address{}, SchemeError(name + ":// is not supported: " + unsupported[name])
	case !found || !known:
		return Address{}, SchemeError("the URL has an unknown scheme, or none")
	}
	address, err := parseRest(Address{Kind: s.kind, TLS: s.tls, Socket: s.socket, scheme: name}, rest, s.port)
	if err != nil {
		return Address{}, fmt.Errorf("the URL %s://...: %w", name, err)
	}
	return address, nil
}

// errEncoding is about a character that ends the password earlier than was meant.
var errEncoding = errors.New(
	"there is an @ behind the host; write the special characters of the password percent-encoded, such as %2F for /")

// parseRest reads what stands behind the scheme as Python's urlsplit does. Go's net/url refuses
// some of what kombu takes, such as a password with a bare percent sign or a caret.
func parseRest(address Address, rest, port string) (Address, error) {
	end := strings.IndexAny(rest, "/?#")
	if address.Socket { // Its path, which begins with a slash, stands behind the login.
		end = strings.IndexAny(rest, "?#")
	}
	if end >= 0 && strings.Contains(rest[end:], "@") {
		return address, errEncoding
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return address, errors.New("malformed options behind the question mark")
	}
	address.Query = values
	// The last @ ends the login, which may hold others.
	at := strings.LastIndexByte(rest, '@')
	user, password, _ := strings.Cut(rest[:max(at, 0)], ":")
	rest = rest[at+1:]
	address.User, address.Password = unquote(user), unquote(password)
	if address.Socket {
		return address, address.setSocket(rest)
	}
	host, path, _ := strings.Cut(rest, "/")
	if host, err = hostPort(host, port); err != nil {
		return address, err
	}
	address.Hosts = []string{host}
	return address, address.setPath(unquote(path))
}

// unquote resolves percent-encoding as Python does: what is none stays as it is.
func unquote(text string) string {
	first, rest, found := strings.Cut(text, "%")
	for found {
		var piece string
		piece, rest, found = strings.Cut(rest, "%")
		decoded, err := url.PathUnescape("%" + piece[:min(2, len(piece))])
		if err != nil {
			first += "%" + piece
			continue
		}
		first += decoded + piece[2:]
	}
	return first
}

func hostPort(text, port string) (string, error) {
	u := url.URL{Host: text}
	host := unquote(u.Hostname())
	if host == "" {
		host = "localhost"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	// What is no number stays in the name, where a colon belongs in brackets only.
	bracketed := strings.HasPrefix(text, "[") && strings.Contains(text, "]")
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strings.Contains(host, ":") && !bracketed {
		return "", errors.New("the port is not a number from 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// setPath reads what stands behind the host: kombu's virtual host, which is a database in Redis. In
// AMQP an empty one and a slash are the same, as kombu has it, and other names may begin with a
// slash that is percent-encoded.
func (a *Address) setPath(path string) error {
	if a.Kind == RabbitMQ {
		a.VirtualHost = path
		if path == "" {
			a.VirtualHost = "/"
		}
		return nil
	}
	// Kombu takes the database of a socket, whose URL has no place for it, from this option.
	if v := a.Query.Get("virtual_host"); v != "" {
		path = v
	}
	if path == "" {
		return nil
	}
	database, err := strconv.Atoi(path)
	if err != nil || database < 0 {
		return errors.New("the database is not a number")
	}
	a.Database = database
	return nil
}

func (a *Address) setSocket(path string) error {
	if path = unquote(path); !strings.HasPrefix(path, "/") {
		return errors.New("the path of the socket is not absolute")
	}
	a.Hosts = []string{path}
	return a.setPath("")
}

// String returns the URL without password and options.
func (a Address) String() string {
	login := ""
	switch {
	case a.Password != "":
		login = a.User + ":***@"
	case a.User != "": // It may be a password whose colon was forgotten.
		login = "***@"
	}
	path := "/" + strconv.Itoa(a.Database)
	if a.Kind == RabbitMQ {
		path = "/" + strings.TrimPrefix(a.VirtualHost, "/")
	}
	return a.scheme + "://" + login + strings.Join(a.Hosts, ",") + path
}
