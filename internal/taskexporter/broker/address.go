// SPDX-License-Identifier: Apache-2.0

// Package broker connects to Redis and RabbitMQ as kombu does: the same URLs, options and names, on well-kept clients.
// It knows nothing of events or metrics: it delivers bytes. A password is in no error that it returns.
package broker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Accepted says which URLs Parse accepts, for error messages and help.
const Accepted = "redis://[USER:PASSWORD@]HOST[:6379][/DB], rediss:// (the same over TLS), " +
	"redis+socket:///PATH[?virtual_host=DB], sentinel://[:PASSWORD@]HOST[:26379][;sentinel://HOST2...][/DB] " +
	"(with the transport option master_name), amqp://[USER:PASSWORD@]HOST[:5672][/VHOST] and amqps:// (the same over TLS)"

// Kind is what speaks at the other end.
type Kind int

// The kinds of brokers.
const (
	Redis Kind = iota
	Sentinel
	RabbitMQ
)

// Address is where a broker is and how to log in. Its String masks the password; the password is nowhere else printed.
type Address struct {
	Kind Kind
	// Hosts are host:port pairs: the sentinels, or servers to be tried in turn; for a socket, its path.
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
	"amqps":        {kind: RabbitMQ, port: "5671", tls: true},
}

// Parse reads a broker URL as kombu does, alternatives separated by semicolons. Space around it is cut off: a Secret made
// from a file ends in a new line more often than not.
func Parse(text string) (Address, error) {
	var address Address
	if text = strings.TrimSpace(text); text == "" {
		return address, fmt.Errorf("the URL is empty; accepted are %s", Accepted)
	}
	for i, part := range strings.Split(text, ";") {
		one, err := parseOne(strings.TrimSpace(part))
		if err != nil {
			return Address{}, fmt.Errorf("%q: %w; accepted are %s", Mask(text), err, Accepted)
		}
		if i == 0 {
			address = one
			continue
		}
		if one.Kind != address.Kind || one.TLS != address.TLS || one.Socket != address.Socket {
			return Address{}, fmt.Errorf("%q: alternatives with different schemes; accepted are %s", Mask(text), Accepted)
		}
		// Kombu knows alternatives of one transport only, and what follows would have no meaning for others.
		address.merge(one)
	}
	return address, nil
}

// merge adds an alternative. Kombu writes the database and the password behind any of several sentinels.
func (a *Address) merge(other Address) {
	a.Hosts = append(a.Hosts, other.Hosts...)
	if other.Database != 0 {
		a.Database = other.Database
	}
	if a.Password == "" {
		a.User, a.Password = other.User, other.Password
	}
}

// parseOne reads one URL. No error holds a part of it, because any part may be a piece of a password.
func parseOne(text string) (Address, error) {
	name, rest, found := strings.Cut(text, "://")
	s, known := schemes[name]
	if !found || !known {
		return Address{}, errors.New("unknown scheme")
	}
	if s.socket {
		return parseSocket(name, rest)
	}
	// An error of url.Parse quotes its input, password and all, so it is not passed on.
	u, err := url.Parse(text)
	if err != nil {
		return Address{}, errors.New("malformed URL (are the special characters of the password percent-encoded?)")
	}
	address := Address{Kind: s.kind, TLS: s.tls, Query: u.Query(), User: u.User.Username(), scheme: name}
	address.Password, _ = u.User.Password()
	host, err := hostPort(u, s.port)
	if err != nil {
		return Address{}, err
	}
	address.Hosts = []string{host}
	return address, address.setPath(strings.TrimPrefix(u.Path, "/"))
}

func hostPort(u *url.URL, port string) (string, error) {
	host := u.Hostname()
	if host == "" {
		host = "localhost"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	// Go accepts any number as a port and would tell of a wrong one only when it connects.
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", errors.New("the port is not a number from 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// setPath reads what stands behind the host: kombu's virtual host, which is a database in Redis. In AMQP an empty one and
// a slash are the same, as kombu has it, and other names may begin with a slash that is percent-encoded.
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

// parseSocket reads by itself what net/url would take for a host.
func parseSocket(name, rest string) (Address, error) {
	rest, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return Address{}, errors.New("malformed options after the question mark")
	}
	address := Address{Kind: Redis, Socket: true, Query: values, scheme: name}
	if login, path, found := strings.Cut(rest, "@"); found {
		user, password, _ := strings.Cut(login, ":")
		if address.User, err = url.PathUnescape(user); err == nil {
			address.Password, err = url.PathUnescape(password)
		}
		if err != nil {
			return Address{}, errors.New("malformed user or password")
		}
		rest = path
	}
	path, err := url.PathUnescape(rest)
	if err != nil || !strings.HasPrefix(path, "/") {
		return Address{}, errors.New("the path of the socket is not absolute")
	}
	address.Hosts = []string{path}
	return address, address.setPath("")
}

// String returns the URL without password and options.
func (a Address) String() string {
	login := ""
	if a.Password != "" {
		login = a.User + ":***@"
	} else if a.User != "" {
		login = a.User + "@"
	}
	path := "/" + strconv.Itoa(a.Database)
	if a.Kind == RabbitMQ {
		path = "/" + strings.TrimPrefix(a.VirtualHost, "/")
	}
	return a.scheme + "://" + login + strings.Join(a.Hosts, ",") + path
}

// Mask hides what may be a password in a text that could not be parsed, at the price of hiding too much.
func Mask(text string) string {
	parts := strings.Split(text, ";")
	for i, part := range parts {
		part, _, _ = strings.Cut(part, "?")
		scheme, rest, found := strings.Cut(part, "://")
		if !found {
			scheme, rest = "", part
		} else {
			scheme += "://"
		}
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = "***" + rest[at:]
		}
		parts[i] = scheme + rest
	}
	return strings.Join(parts, ";")
}
