// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/taskexporter/status"
)

const (
	// exporterTimeout bounds how long an exporter may take to say what it knows.
	exporterTimeout = 2 * time.Second
	// exportersAtOnce are asked at a time, so that some that do not respond delay no round.
	exportersAtOnce = 32
)

// Exporters asks the task exporters of all stacks what they know of their brokers.
type Exporters struct {
	// Reader reads through the cache.
	Reader  client.Reader
	Cluster Cluster
	Store   *Store
	// Image is the operator's own, which runs where a broker names none.
	Image    string
	Interval time.Duration

	// deployments are the controllers of ReplicaSets, which never change; empty if there is none.
	deployments map[types.UID]types.UID
	client      *http.Client
}

// Start asks in rounds until the context ends.
func (e *Exporters) Start(ctx context.Context) error {
	e.client = exporterClient(new(net.Dialer).DialContext)
	return every(ctx, e.Interval, SourceExporter, e.round)
}

// exporterClient goes to no proxy and follows nobody elsewhere.
func exporterClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Timeout:       exporterTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
		},
	}
}

// exporter is that of one broker.
type exporter struct {
	stack     *obsv1.ObservabilityStack
	broker    string
	addresses []netip.Addr
	judge.Exporter
}

func (e *Exporters) round(ctx context.Context) error {
	stacks, err := e.Store.stacks(ctx, e.Reader)
	if err != nil {
		return err
	}
	exporters, err := e.exporters(ctx, stacks)
	if err != nil {
		return err
	}
	if err := e.find(ctx, exporters); err != nil {
		for _, stack := range stacks {
			e.Store.Unavailable(ctx, stack, SourceExporter, judge.Gap{
				Reason: obsv1.ReasonUnreachable, Message: "obstack could not list the Pods of task exporters: its log says why",
			})
		}
		return err
	}
	var asking errgroup.Group
	asking.SetLimit(exportersAtOnce)
	for _, x := range exporters {
		asking.Go(func() error {
			e.ask(ctx, x)
			return nil
		})
	}
	_ = asking.Wait() // none fails
	of := map[*obsv1.ObservabilityStack]map[string]judge.Exporter{}
	for _, x := range exporters {
		if of[x.stack] == nil {
			of[x.stack] = map[string]judge.Exporter{}
		}
		of[x.stack][x.broker] = x.Exporter
	}
	for _, stack := range stacks {
		e.Store.Set(ctx, stack, SourceExporter, judge.Exporters(stack, of[stack]))
	}
	return nil
}

// exporters of the stacks; those that can be asked by the UID of their Deployment, which the stack
// controls.
func (e *Exporters) exporters(
	ctx context.Context, stacks []*obsv1.ObservabilityStack,
) (map[types.UID]*exporter, error) {
	found := map[types.UID]*exporter{}
	for _, stack := range stacks {
		for i, name := range desired.ExporterNames(stack) {
			broker := &stack.Spec.Brokers()[i]
			x := &exporter{stack: stack, broker: broker.Name}
			x.Gap.Reason = obsv1.ReasonUnreachable
			x.Gap.Message = fmt.Sprintf("obstack found no Pod of the task exporter of broker %s to ask", broker.Name)
			deployment := &appsv1.Deployment{}
			err := e.Reader.Get(ctx, client.ObjectKey{Namespace: stack.Namespace, Name: name}, deployment)
			if client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("read Deployment %s: %w", name, err)
			}
			uid := deployment.UID
			if broker.Image != "" || err != nil || !metav1.IsControlledBy(deployment, stack) {
				uid = types.UID(fmt.Sprintf("%s/%s", stack.UID, broker.Name)) // no Pod's
			}
			if broker.Image != "" {
				x.Gap = foreign(broker.Name)
			}
			found[uid] = x
		}
	}
	return found, nil
}

func foreign(broker string) judge.Gap {
	return judge.Gap{Reason: obsv1.ReasonForeignImage, Message: fmt.Sprintf(
		"the task exporter of broker %s runs another image than obstack's own, and is not asked", broker)}
}

// find the addresses of exporters: those of Pods that a ReplicaSet of their Deployment controls.
// Labels alone prove nothing.
func (e *Exporters) find(ctx context.Context, exporters map[types.UID]*exporter) error {
	own := func(x *exporter) bool { return x.Gap.Reason != obsv1.ReasonForeignImage }
	if !slices.ContainsFunc(slices.Collect(maps.Values(exporters)), own) {
		return nil
	}
	pods := map[types.UID][]*corev1.Pod{} // by their ReplicaSet
	err := e.Cluster.pods(ctx, desired.ExporterLabels(), func(pod *corev1.Pod) {
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "ReplicaSet" && runs(pod) {
			pods[owner.UID] = append(pods[owner.UID], pod)
		}
	})
	if err != nil {
		return err
	}
	if err := e.learn(ctx, pods); err != nil {
		return err
	}
	known := map[types.UID]types.UID{}
	for replicaSet, its := range pods {
		known[replicaSet] = e.deployments[replicaSet]
		x := exporters[known[replicaSet]]
		for _, pod := range its {
			if x != nil && pod.Namespace == x.stack.Namespace { // Anybody may name a UID.
				x.found(pod, e.Image)
			}
		}
	}
	e.deployments = known // Those without a Pod are forgotten.
	return nil
}

// learn which Deployments control the ReplicaSets of Pods, if one is new.
func (e *Exporters) learn(ctx context.Context, pods map[types.UID][]*corev1.Pod) error {
	known := func(replicaSet types.UID) bool { _, known := e.deployments[replicaSet]; return known }
	if !slices.ContainsFunc(slices.Collect(maps.Keys(pods)), func(uid types.UID) bool { return !known(uid) }) {
		return nil
	}
	e.deployments = map[types.UID]types.UID{}
	page := metadata.ListOf(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	return e.Cluster.list(ctx, page, desired.ExporterLabels(), metadataPage, func() {
		for i := range page.Items {
			if owner := metav1.GetControllerOf(&page.Items[i]); owner != nil && owner.Kind == metadata.Deployment.Kind {
				e.deployments[page.Items[i].UID] = owner.UID
			}
		}
		page.Items = nil
	})
}

// found adds the address of a Pod, if it may be asked.
func (x *exporter) found(pod *corev1.Pod, image string) {
	own := slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return c.Name == desired.ExporterContainer && c.Image == image
	})
	address, err := netip.ParseAddr(pod.Status.PodIP)
	switch {
	case !own:
		x.Gap = foreign(x.broker)
	case err == nil && !pod.Spec.HostNetwork && pod.Status.PodIP != pod.Status.HostIP && isPodAddress(address):
		x.addresses = append(x.addresses, address)
	}
}

// isPodAddress reports whether an address can be that of a Pod. What replies at others, such as a
// cloud's metadata, is not for stacks to ask.
func isPodAddress(address netip.Addr) bool {
	address = address.Unmap()
	return address.IsGlobalUnicast() && address.Zone() == ""
}

// ask the Pods of an exporter, of which there are two while one takes over from the other. The one
// that counts knows more.
func (e *Exporters) ask(ctx context.Context, x *exporter) {
	const most = 3
	for _, address := range x.addresses[:min(len(x.addresses), most)] {
		document, err := e.status(ctx, address)
		if err != nil {
			continue // Its text may be anything.
		}
		if x.Status == nil || document.Counting {
			x.Status = document
		}
	}
	if len(x.addresses) > 0 && x.Status == nil {
		x.Gap = judge.Gap{Reason: obsv1.ReasonUnreachable, Message: fmt.Sprintf("the task exporter of broker %s does not "+
			"respond to obstack at port %d: see that no NetworkPolicy keeps obstack out", x.broker, desired.ExporterPort)}
	}
}

func (e *Exporters) status(ctx context.Context, address netip.Addr) (*status.Document, error) {
	host := net.JoinHostPort(address.String(), strconv.Itoa(desired.ExporterPort))
	body, err := promclient.Get(ctx, e.client, &url.URL{Scheme: "http", Host: host, Path: "/status"})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	document := &status.Document{}
	if err := json.NewDecoder(io.LimitReader(body, status.MaxBytes)).Decode(document); err != nil {
		return nil, err
	}
	return document, nil
}
