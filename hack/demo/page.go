// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/viewer"
)

// page shows the stack's dashboards.
type page struct {
	// address shows the first of them.
	address string
	server  *http.Server
	ended   chan error
}

// startPage serves the dashboards of the stack's ConfigMaps on a free loopback port.
func (d *demo) startPage(ctx context.Context, stack *obsv1.ObservabilityStack) (*page, error) {
	configMaps := &corev1.ConfigMapList{}
	if err := d.api.List(ctx, configMaps, ofStack(stack)...); err != nil {
		return nil, fmt.Errorf("list the dashboards: %w", err)
	}
	dashboards, err := parseDashboards(configMaps.Items)
	if err != nil {
		return nil, err
	}
	shown, err := viewer.New(dashboards, d.parts.client())
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the dashboards: %w", err)
	}
	p := &page{
		// The minutes that there is something of.
		address: fmt.Sprintf("http://%s/d/%s?from=now-15m&to=now&refresh=5s", listener.Addr(),
			url.PathEscape(dashboards[0].UID)),
		server: viewer.Server(ctx, shown, listener.Addr()),
		ended:  make(chan error, 1),
	}
	go func() { p.ended <- p.server.Serve(listener) }()
	return p, nil
}

// stop ends the server at once: a page that is being drawn is of no use any more.
func (p *page) stop() error {
	err := p.server.Close()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// panelInterval is how often a dashboard takes its series to be scraped.
var panelInterval = regexp.MustCompile(`"interval": ?"[0-9a-z]+"`)

// parseDashboards reads those of ConfigMaps, the overview first, for how often the demo scrapes.
func parseDashboards(configMaps []corev1.ConfigMap) ([]*viewer.Dashboard, error) {
	var dashboards []*viewer.Dashboard
	interval := fmt.Sprintf(`"interval":%q`, scrapeInterval)
	for i := range configMaps {
		for _, file := range slices.Sorted(maps.Keys(configMaps[i].Data)) {
			dashboard, err := viewer.Parse([]byte(panelInterval.ReplaceAllString(configMaps[i].Data[file], interval)))
			if err != nil {
				return nil, fmt.Errorf("the dashboard %s of %s: %w", file, configMaps[i].Name, err)
			}
			if strings.HasSuffix(configMaps[i].Name, "-overview") {
				dashboards = slices.Insert(dashboards, 0, dashboard)
				continue
			}
			dashboards = append(dashboards, dashboard)
		}
	}
	return dashboards, nil
}
