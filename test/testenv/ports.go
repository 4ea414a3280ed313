// SPDX-License-Identifier: Apache-2.0

package testenv

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
	lowestPort = 20000
	portCount  = 12000
)

// FreePort returns a port on which nothing listens on the loopback interface.
func FreePort() (int, error) {
	var failures []error
	for range 100 {
		port := lowestPort + rand.N(portCount)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			failures = append(failures, err)
			continue
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", errors.Join(failures...))
}

// FindAddress is a free port with the loopback address.
func FindAddress() (string, error) {
	port, err := FreePort()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
