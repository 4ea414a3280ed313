// SPDX-License-Identifier: Apache-2.0

// Package test holds what the API server itself must say about our definitions and samples.
package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

// One API server for all tests, that has our definitions and no operator.
var (
	sharedAPI client.Client
	errStart  = errors.New("TestMain did not run")
)

func TestMain(m *testing.M) {
	cp, err := testenv.StartControlPlane(context.Background(), testenv.Options{Log: os.Stderr})
	if err != nil {
		errStart = err
		m.Run()
		return
	}
	sharedAPI, errStart = client.New(cp.Config, client.Options{})
	m.Run()
	if err := cp.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the control plane:", err)
	}
}

// apiServer is a client of the API server. A test that has none fails.
func apiServer(t *testing.T) client.Client {
	t.Helper()
	if errStart != nil {
		t.Fatal(errStart)
	}
	return sharedAPI
}
