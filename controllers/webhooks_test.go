// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/controllers/stack"
)

// serveWebhooks registers the webhooks of config/webhook at the API server and
// serves them until the program ends. They read through no cache, so a test that
// has written something need not wait until they know. The returned function removes
// their certificate.
func serveWebhooks(config *rest.Config) (func() error, error) {
	options := envtest.WebhookInstallOptions{Paths: []string{filepath.Join("..", "config", "webhook", "manifests.yaml")}}
	if err := options.Install(config); err != nil {
		return nil, fmt.Errorf("register the webhooks: %w", err)
	}
	server := webhook.NewServer(webhook.Options{
		Host: options.LocalServingHost, Port: options.LocalServingPort, CertDir: options.LocalServingCertDir,
	})
	injection.RegisterWebhooks(server,
		injection.NewLookup(&injection.Reader{Main: live, Watched: func(string) bool { return true }}, live))
	ctx := context.Background()
	go func() {
		if err := server.Start(ctx); err != nil {
			panic(err) // Every test that needs it would fail in a way hard to read.
		}
	}()
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, timeout, true, func(context.Context) (bool, error) {
		return server.StartedChecker()(&http.Request{}) == nil, nil
	})
	return options.Cleanup, err
}

// indexed reads from the API server what in production comes from indexed caches.
type indexed struct {
	client.Reader
}

var indexFuncs = func() map[string]client.IndexerFunc {
	funcs := map[string]client.IndexerFunc{}
	for _, index := range slices.Concat(stack.Indexes(), injection.Indexes(), injection.WorkloadIndexes()) {
		funcs[index.Field] = index.Values
	}
	return funcs
}()

// List evaluates the indexes' functions.
func (r indexed) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	asked := &client.ListOptions{}
	asked.ApplyOptions(opts)
	fieldSelector := asked.FieldSelector
	if err := r.Reader.List(ctx, list, client.InNamespace(asked.Namespace)); err != nil || fieldSelector == nil {
		return err
	}
	wanted := fieldSelector.Requirements()[0]
	return keepItems(list, func(obj client.Object) bool {
		return slices.Contains(indexFuncs[wanted.Field](obj), wanted.Value)
	})
}

func keepItems(list client.ObjectList, keep func(client.Object) bool) error {
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	items = slices.DeleteFunc(items, func(item runtime.Object) bool {
		obj, ok := item.(client.Object)
		return !ok || !keep(obj)
	})
	return meta.SetList(list, items)
}
