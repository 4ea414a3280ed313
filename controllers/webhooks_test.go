// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/controllers/stack"
	"obstack.dev/obstack/test/testenv"
)

// labelEngine on a Namespace chooses what injects there: "policy" or "both", and else the webhooks.
const labelEngine = "engine"

// serveWebhooks registers the webhooks of config/webhook at the API server and
// serves them until the program ends. They read through no cache, so a test that
// has written something need not wait until they know. The returned function removes
// their certificate.
func serveWebhooks(config *rest.Config) (func() error, error) {
	registered := &admissionv1.MutatingWebhookConfiguration{}
	if err := readYAML(filepath.Join("..", "config", "webhook", "manifests.yaml"), registered); err != nil {
		return nil, err
	}
	for i := range registered.Webhooks {
		selector := registered.Webhooks[i].NamespaceSelector
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: labelEngine, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"policy"},
		})
	}
	options := envtest.WebhookInstallOptions{
		MutatingWebhooks: []*admissionv1.MutatingWebhookConfiguration{registered},
	}
	if err := options.Install(config); err != nil {
		return nil, fmt.Errorf("register the webhooks: %w", err)
	}
	server := webhook.NewServer(webhook.Options{
		Host: options.LocalServingHost, Port: options.LocalServingPort, CertDir: options.LocalServingCertDir,
	})
	injection.RegisterWebhooks(server, &injection.Reader{Main: live, Watched: func(string) bool { return true }})
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

// installPolicies installs those of config/injection.
func installPolicies(ctx context.Context) error {
	policies, err := testenv.ReadPolicies()
	if err != nil {
		return err
	}
	err = policies.Select(map[string]any{"matchExpressions": []any{
		map[string]any{"key": labelEngine, "operator": "In", "values": []any{"policy", "both"}},
	}})
	return errors.Join(err, policies.Install(ctx, live))
}

func readYAML(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(content, into)
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
