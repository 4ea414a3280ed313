// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
)

const (
	// grafanaTimeout bounds a round of a platform's Grafana.
	grafanaTimeout = 2 * time.Minute
	// dashboardsPage is what Grafana lists at a time, and maxDashboardPages how often it is asked.
	dashboardsPage, maxDashboardPages = 1000, 50
	// maxGrafanaBody bounds a response.
	maxGrafanaBody = 4 << 20
	// maxDatasources are asked for in a round of a platform.
	maxDatasources = 100
)

// Grafana asks who brings the dashboards of all stacks to Grafana, once for the cluster, and the
// Grafana of each platform what it has. Platforms do not wait for each other.
type Grafana struct {
	// Reader reads through the cache.
	Reader  client.Reader
	Cluster Cluster
	Store   *Store
	// Platform returns the name and spec of the platform of a stack; no spec if it has none.
	Platform func(context.Context, *obsv1.ObservabilityStack) (string, *obsv1.ObservabilityPlatformSpec, error)
	// Servers of a platform's Grafana; none if it is not to be asked.
	Servers  func(context.Context, *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error)
	Interval time.Duration

	// found are the sidecars of the last round that could list Pods; nil before.
	found *judge.Sidecars
}

// Start asks in rounds until the context ends.
func (g *Grafana) Start(ctx context.Context) error {
	return every(ctx, g.Interval, SourceGrafana, g.round)
}

func (g *Grafana) round(ctx context.Context) error {
	stacks, err := g.Store.stacks(ctx, g.Reader)
	if err != nil {
		return err
	}
	platforms := map[string][]*obsv1.ObservabilityStack{}
	var all []*obsv1.ObservabilityStack
	for _, stack := range stacks {
		name, spec, err := g.Platform(ctx, stack)
		if err != nil {
			return err
		}
		if spec == nil {
			name = ""
		}
		effective := desired.Effective(stack, spec)
		all, platforms[name] = append(all, effective), append(platforms[name], effective)
	}
	sidecars, failed := g.Cluster.sidecars(ctx, all)
	if failed != nil && g.found != nil {
		sidecars = *g.found
	} else if failed == nil {
		g.found = &sidecars
	}
	var asking sync.WaitGroup
	for name, its := range platforms {
		asking.Go(func() {
			found := g.ask(ctx, name, its)
			for _, stack := range its {
				g.Store.Set(ctx, stack, SourceGrafana, judge.Dashboards(stack, sidecars, found))
			}
		})
	}
	asking.Wait()
	return failed
}

// ask the Grafana of a platform about the dashboards of its stacks.
func (g *Grafana) ask(ctx context.Context, name string, stacks []*obsv1.ObservabilityStack) judge.Grafana {
	gap := func(reason, message string) judge.Grafana {
		return judge.Grafana{Gap: &judge.Gap{Reason: reason, Message: message}}
	}
	if name == "" {
		return gap(obsv1.ReasonNoPlatform, "the stack uses no ObservabilityPlatform that names a Grafana to ask")
	}
	ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
	defer cancel()
	named := &obsv1.ObservabilityPlatform{}
	var servers []platform.Endpoint
	err := g.Reader.Get(ctx, client.ObjectKey{Name: name}, named)
	if err == nil {
		servers, err = g.Servers(ctx, named)
	}
	if err == nil && len(servers) == 0 {
		return gap(obsv1.ReasonNoToken,
			fmt.Sprintf("spec.grafana of ObservabilityPlatform %s has no url or no tokenFrom", name))
	}
	found := judge.Grafana{}
	if err == nil {
		found, err = grafana{servers[0]}.read(ctx, stacks)
	}
	switch {
	case errors.Is(err, promclient.Denied):
		return gap(obsv1.ReasonNoToken, fmt.Sprintf("Grafana of platform %s refuses the token", name))
	case err != nil:
		// The error can name Secrets and addresses, which are no business of the stacks.
		ctrl.Log.WithName("proof").Error(err, "Could not ask Grafana", "platform", name)
		return gap(obsv1.ReasonUnreachable, fmt.Sprintf("Grafana of platform %s does not respond as Grafana does", name))
	default:
		return found
	}
}

// grafana is a server with its API.
type grafana struct{ platform.Endpoint }

// read what it has of what stacks need.
func (g grafana) read(ctx context.Context, stacks []*obsv1.ObservabilityStack) (found judge.Grafana, err error) {
	found.Datasources = map[string]bool{}
	if found.Dashboards, err = g.dashboards(ctx); err != nil {
		return found, err
	}
	asked := map[string]bool{}
	for _, stack := range stacks {
		if stack.Spec.Dashboards == nil || asked[string(stack.Spec.Dashboards.Datasource)] || len(asked) >= maxDatasources {
			continue
		}
		uid := string(stack.Spec.Dashboards.Datasource)
		asked[uid] = true
		if err := g.datasource(ctx, uid, found.Datasources); err != nil {
			return found, err
		}
	}
	return found, nil
}

// dashboards are the uids of those with obstack's tag.
func (g grafana) dashboards(ctx context.Context) (map[string]bool, error) {
	uids := map[string]bool{}
	for page := 1; page <= maxDashboardPages; page++ {
		var listed []struct {
			UID string `json:"uid"`
		}
		search := g.URL.JoinPath("api/search")
		search.RawQuery = fmt.Sprintf("type=dash-db&tag=obstack&limit=%d&page=%d", dashboardsPage, page)
		if err := g.get(ctx, search, &listed); err != nil {
			return nil, fmt.Errorf("search dashboards: %w", err)
		}
		for _, dashboard := range listed {
			if strings.HasPrefix(dashboard.UID, "obstack-") {
				uids[dashboard.UID] = true
			}
		}
		if len(listed) < dashboardsPage {
			break
		}
	}
	return uids, nil
}

// datasource finds out whether there is a data source, unless the token may not know. Dashboards
// may open it by its name.
func (g grafana) datasource(ctx context.Context, uid string, known map[string]bool) error {
	for _, by := range []string{"uid", "name"} {
		err := g.get(ctx, g.URL.JoinPath("api/datasources", by, uid), &json.RawMessage{})
		switch {
		case errors.Is(err, promclient.Denied):
			return nil
		case err == nil:
			known[uid] = true
			return nil
		case !errors.Is(err, promclient.NotServed):
			return fmt.Errorf("read data source: %w", err)
		}
	}
	known[uid] = false
	return nil
}

func (g grafana) get(ctx context.Context, address *url.URL, into any) error {
	body, err := promclient.Get(ctx, g.Client, address)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(io.LimitReader(body, maxGrafanaBody)).Decode(into)
}
