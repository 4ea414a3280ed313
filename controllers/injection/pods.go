// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"iter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// pods lists the stamped Pods of a stack, by the workload to which they belong, and has the state
// made again when more is known of them.
func (i *Injector) pods(ctx context.Context, stack types.NamespacedName,
	state *policy.State) (map[policy.Key][]policy.Pod, error) {
	list := metadata.ListOf(metadata.Pod)
	err := i.Reader.Main.List(ctx, list, client.MatchingFields{indexStamp: stack.String()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	made, err := i.made(ctx, stack)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	before, _ := i.starts.Load(stack)
	known := starts{
		live: i.Live, now: state.Now, after: map[types.UID]start{}, listed: map[settings.Version]map[types.UID]start{},
	}
	known.before, _ = before.(map[types.UID]start) // nil in the first pass
	pods := map[policy.Key][]policy.Pod{}
	for n := range list.Items {
		pod := &list.Items[n]
		stamp, _ := policy.StampOf(pod.Labels, pod.Annotations)
		version := settings.Version{Stack: stack, Namespace: pod.Namespace, Hash: stamp.ConfigHash}
		seen := policy.Pod{
			Mark: pod.Annotations[obsv1.MarkInjected], Deleting: !pod.DeletionTimestamp.IsZero(),
			Project: pod.Annotations[obsv1.AnnotationSentryProject],
		}
		if at := made[version]; at.After(pod.CreationTimestamp.Time) {
			if known.without(ctx, version, at, pod.UID) {
				seen.Mark = ""
			}
		}
		owner := policy.OwnerOf(&pod.ObjectMeta)
		pods[owner] = append(pods[owner], seen)
	}
	i.starts.Store(stack, known.after)
	state.RetryAfter = known.recheck
	return pods, nil
}

// made is when each version of a stack's settings was made, but for those that are restored: while
// a Pod that was there before lives, nothing is known to be missing. That of one that does not
// exist is the zero time, because a restart would bring nothing.
func (i *Injector) made(ctx context.Context, stack types.NamespacedName) (map[settings.Version]time.Time, error) {
	versions, err := settings.List(ctx, i.Reader.Main, stack)
	if err != nil {
		return nil, err
	}
	made := map[settings.Version]time.Time{}
	for n := range versions {
		version, ok := settings.VersionOf(&versions[n])
		if _, restored := versions[n].Annotations[obsv1.AnnotationRestored]; ok && !restored {
			made[version] = versions[n].CreationTimestamp.Time
		}
	}
	return made, nil
}

// starts are those of the containers of Pods that are older than the settings they name. A
// container reads them when it starts, and a Pod may wait for a node or an image until then. The
// caches do not hold that, so the API server is asked, for all such Pods of a version at once.
type starts struct {
	live          client.Reader
	now           time.Time
	before, after map[types.UID]start // what a former pass knew of Pods, and what this one does
	listed        map[settings.Version]map[types.UID]start
	recheck       time.Duration // after how long any is to be looked at again; 0 if none is
}

// start is that of a Pod's containers.
type start struct {
	// without reports whether one runs that started before there were settings.
	without bool
	// again is when to look again; zero if all run and have them.
	again time.Time
}

// startsRecheck is after how long a Pod is looked at again of which a container does not run yet,
// or started too early and may be restarted by itself.
const startsRecheck = time.Minute

const (
	// listAgainAfter is how soon Pods are listed again of a namespace of which they could not be.
	listAgainAfter = time.Minute
	// listTimeout bounds how long slow lists keep a pass, which has more to do.
	listTimeout = 30 * time.Second
)

// without reports whether a container of a Pod runs without its settings, which were made at that
// time. Where the API server does not say, what was known before holds.
func (s *starts) without(ctx context.Context, version settings.Version, at time.Time, pod types.UID) bool {
	found, known := s.before[pod]
	if !known || !found.again.IsZero() && !s.now.Before(found.again) {
		listed, tried := s.listed[version]
		if !tried {
			listed = s.list(ctx, version, at)
			s.listed[version] = listed
		}
		of, there := listed[pod]
		switch {
		case listed == nil:
			found.again = s.now.Add(listAgainAfter)
		case !there: // It is gone, and its event comes.
			return false
		default:
			found = of
		}
	}
	if s.after[pod] = found; !found.again.IsZero() {
		s.recheck = startsRecheck
	}
	return found.without
}

// list the starts of all Pods of a version; nil if they are not known. That is the trouble of one
// namespace, and not of the stack.
func (s *starts) list(ctx context.Context, version settings.Version, at time.Time) map[types.UID]start {
	found := map[types.UID]start{}
	stamp := policy.Stamp{Stack: version.Stack, ConfigHash: version.Hash}
	for pod, err := range livePods(ctx, s.live, version.Namespace, stamp.Labels()) {
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not see when Pods started", "namespace", version.Namespace)
			return nil
		}
		without, all := policy.StartedBefore(pod, version.Secret().Name, at)
		of := start{without: without}
		if without || !all {
			of.again = s.now.Add(startsRecheck)
		}
		found[pod.UID] = of
	}
	return found
}

// livePods are those of a namespace with some labels, which the caches do not hold in full.
func livePods(ctx context.Context, live client.Reader, namespace string,
	labels client.MatchingLabels) iter.Seq2[*corev1.Pod, error] {
	empty := func() *corev1.PodList { return &corev1.PodList{} }
	return func(yield func(*corev1.Pod, error) bool) {
		opts := []client.ListOption{client.InNamespace(namespace), labels, metadata.WholePage}
		for page, err := range metadata.Pages(ctx, live, empty, opts...) {
			if err != nil {
				yield(nil, fmt.Errorf("list Pods: %w", err))
				return
			}
			for n := range page.Items {
				if !yield(&page.Items[n], nil) {
					return
				}
			}
		}
	}
}
