// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"obstack.dev/obstack/test/testenv"
)

// Redis starts a server without persistence on a port, 0 for none, with more settings given as on
// its command line.
func Redis(output *os.File, port int, settings ...string) (*Process, error) {
	// Replication writes a file, which a later server in the same folder would load.
	file := fmt.Sprintf("obstack-%d.rdb", os.Getpid())
	args := []string{
		"redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dbfilename", file,
	}
	p, err := Start(output, nil, append(args, settings...)...)
	if err != nil || port == 0 {
		return p, err
	}
	return p.waitForPort("redis-server", port, startTimeout)
}

// startTimeout is how long a server may take to listen. RabbitMQ needs nine seconds of one
// processor, and has needed more than two minutes on a shared machine.
const startTimeout = 10 * time.Minute

// RabbitMQ is a server that can be started again with the same data and ports.
type RabbitMQ struct {
	// Port speaks AMQP; TLSPort does over TLS, if Settings turn that on.
	Port, TLSPort int
	// Settings are more lines of rabbitmq.conf.
	Settings []string
	// Plugins are the names of those to enable.
	Plugins []string
	// Erlang are more arguments of the Erlang machine, such as a number of schedulers.
	Erlang string

	distribution, names int
	dir                 string
	mapper              *Process
}

// definitions are what a new server needs: the hosts / and shop, and the usual guest.
const definitions = `{"vhosts": [{"name": "/"}, {"name": "shop"}],
	"users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
	"permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
		{"user": "guest", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}]}`

// NewRabbitMQ prepares a server in an empty folder and starts Erlang's port mapper for it. If that
// is not there first, the server starts one that outlives it.
func NewRabbitMQ(dir string) (*RabbitMQ, error) {
	r := &RabbitMQ{dir: dir}
	for _, port := range []*int{&r.Port, &r.TLSPort, &r.distribution, &r.names} {
		var err error
		if *port, err = testenv.FreePort(); err != nil {
			return nil, err
		}
	}
	mapper, err := Start(nil, []string{"HOME=" + dir}, "epmd", "-port", strconv.Itoa(r.names), "-address", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	r.mapper, err = mapper.waitForPort("epmd", r.names, startTimeout)
	return r, err
}

// Start starts the server and waits until it listens.
func (r *RabbitMQ) Start(output *os.File) (*Process, error) {
	conf := fmt.Sprintf("listeners.tcp.default = 127.0.0.1:%d\nload_definitions = %s\n", r.Port,
		r.path("definitions.json"))
	conf += strings.Join(r.Settings, "\n") + "\n"
	err := errors.Join(r.write("definitions.json", definitions), r.write("rabbitmq.conf", conf),
		r.write("enabled_plugins", "["+strings.Join(r.Plugins, ", ")+"]."))
	if err != nil {
		return nil, err
	}
	p, err := Start(output, append(r.node(),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", r.distribution), "RABBITMQ_LOGS=-",
		"RABBITMQ_CONFIG_FILE="+r.path("rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+r.path("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+r.path("data"), "RABBITMQ_LOG_BASE="+r.path("log"), "RABBITMQ_PID_FILE="+r.path("pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} "+r.Erlang,
	), "/usr/lib/rabbitmq/bin/rabbitmq-server")
	if err != nil {
		return nil, err
	}
	return p.waitForPort("rabbitmq-server", r.Port, startTimeout)
}

// node is where the server's node is found.
func (r *RabbitMQ) node() []string {
	return []string{
		fmt.Sprintf("RABBITMQ_NODENAME=obstack%d@localhost", r.Port), fmt.Sprintf("ERL_EPMD_PORT=%d", r.names),
		"ERL_EPMD_ADDRESS=127.0.0.1", "HOME=" + r.dir,
	}
}

// Ctl runs rabbitmqctl on the running server and returns its output. A server listens before it
// takes commands.
func (r *RabbitMQ) Ctl(args ...string) (output string, err error) {
	started := func() bool {
		output, err = r.ctl(args...)
		return err == nil || !strings.Contains(output, "requires the 'rabbit' app to be running")
	}
	if late := WaitFor("rabbitmqctl", startTimeout, started); late != nil {
		return "", late
	}
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w\n%s", args[0], err, output)
	}
	return output, nil
}

func (r *RabbitMQ) ctl(args ...string) (string, error) {
	command := exec.Command("/usr/lib/rabbitmq/bin/rabbitmqctl", append([]string{"--quiet"}, args...)...)
	command.Env = append(os.Environ(), r.node()...)
	output, err := command.CombinedOutput()
	return string(output), err
}

// Close ends the port mapper. Servers are ended by whoever started them.
func (r *RabbitMQ) Close() { r.mapper.Kill() }

// URL returns where the exporter finds a virtual host.
func (r *RabbitMQ) URL(host string) string {
	return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/%s", r.Port, host)
}

func (r *RabbitMQ) path(name string) string { return filepath.Join(r.dir, name) }

func (r *RabbitMQ) write(name, text string) error {
	return os.WriteFile(r.path(name), []byte(text), 0o600)
}
