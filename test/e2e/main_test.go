// SPDX-License-Identifier: Apache-2.0

// Package e2e tests obstack in a cluster with Pods that run: the chart installed by helm, a real
// prometheus-operator and Prometheus, a FastAPI service and a Celery worker with Redis, and
// Bugsink, which takes errors as Sentry does. README.md says what it needs; make e2e provides that.
package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

// limit is how long a fault may take to appear in the status, or to go.
const limit = 90 * time.Second

// cluster is the one under test.
type cluster struct {
	client.Client
	config     *rest.Config
	http       *http.Client
	kubeconfig string
	// load is a command that brings an archive of an image, its last argument, to the nodes.
	load string
	// parts is the folder of what hack/integration/e2e.sh installed.
	parts string
	// dsn is where the application's errors go, and other is another project of the same tracker.
	dsn, other string
}

// installed is the cluster, once something was installed there.
var installed *cluster

var install = sync.OnceValue(func() error {
	c, err := connect()
	if err != nil {
		return err
	}
	installed = c
	// Far more than it takes; less than what ends the tests without cleaning up.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return c.install(ctx)
})

// start returns the cluster, with everything installed.
func start(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("E2E_KUBECONFIG") == "" {
		t.Skip("SKIPPED, NOT TESTED: no cluster; run make e2e")
	}
	if err := install(); err != nil {
		if installed != nil {
			installed.explain(t)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			installed.explain(t)
		}
	})
	return installed
}

func connect() (*cluster, error) {
	c := &cluster{
		kubeconfig: os.Getenv("E2E_KUBECONFIG"), load: os.Getenv("E2E_LOAD"),
		parts: os.Getenv("OBSTACK_INTEGRATION") + "/e2e",
	}
	if c.load == "" {
		return nil, errors.New("E2E_LOAD is empty: it names a command that brings the archive of an image to the nodes")
	}
	var err error
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig); err != nil {
		return nil, err
	}
	c.config.QPS = -1
	if c.http, err = rest.HTTPClientFor(c.config); err != nil {
		return nil, err
	}
	c.Client, err = client.New(c.config, client.Options{Scheme: testenv.Scheme()})
	return c, err
}
