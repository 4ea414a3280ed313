// SPDX-License-Identifier: Apache-2.0

// Package freeport finds ports for servers that tests start.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports to choose from lie below those that the kernel gives to outgoing
// connections (ip_local_port_range, ip(7)). One of those could be taken between
// being found free and being listened on, on a busy machine it soon is.
const (
	lowest = 20000
	number = 12000
)

// Find returns a port on which nothing listens on the loopback interface.
func Find() (int, error) {
	var failures []error
	for range 100 {
		port := lowest + rand.N(number)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			failures = append(failures, err)
			continue
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", errors.Join(failures...))
}

// Address is Find's port with the loopback address.
func Address() (string, error) {
	port, err := Find()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
