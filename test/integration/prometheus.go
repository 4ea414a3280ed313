// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"net/http"
	"os"

	"obstack.dev/obstack/test/testenv"
)

// Prometheus is a running server.
type Prometheus struct {
	*Process
	// URL of the server.
	URL string
}

// StartPrometheus starts a program with a configuration file, a folder for its data and more flags,
// and waits until it is ready.
func StartPrometheus(output *os.File, program, file, data string, flags ...string) (*Prometheus, error) {
	address, err := testenv.FindAddress()
	if err != nil {
		return nil, err
	}
	args := []string{program, "--config.file=" + file, "--storage.tsdb.path=" + data, "--web.listen-address=" + address}
	process, err := Start(output, nil, append(args, flags...)...)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{process, "http://" + address}
	if err := WaitFor("Prometheus", startTimeout, func() bool { return p.ready() || p.over() }); err != nil || p.over() {
		p.Kill()
		return nil, errors.Join(err, errors.New("Prometheus does not get ready"))
	}
	return p, nil
}

func (p *Prometheus) ready() bool {
	response, err := http.Get(p.URL + "/-/ready")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
