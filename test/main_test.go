// SPDX-License-Identifier: Apache-2.0

// Package test holds what the API server itself must say about our definitions and samples.
package test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/controlplane"
)

// api talks to an API server that has our definitions and no operator.
var api client.Client

func TestMain(m *testing.M) {
	cp, err := controlplane.Start(context.Background(), controlplane.Options{Log: os.Stderr})
	if err == nil {
		api, err = client.New(cp.Config, client.Options{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := cp.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
