// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// follower shows stacks again whenever what is shown of them changes.
type follower struct {
	*statusOptions
	api             client.WithWatch
	namespace, name string
	informer        cache.SharedIndexInformer
	// changed holds one mark for all changes since something was shown last.
	changed chan struct{}
	// heard is what came of each request for a watch, and of each list that failed.
	heard chan error

	last StatusReport
	// watched reports whether the API server has granted a watch, and said is the error that was
	// printed last.
	watched bool
	said    string
}

// follow shows stacks until the context ends. The API server ends each watch after some minutes;
// an informer begins the next one, and reads anew where the version it knows is too old.
func (o *statusOptions) follow(ctx context.Context, api client.WithWatch, namespace, name string) error {
	last, err := o.show(ctx, api, namespace, name)
	if err != nil && !errors.Is(err, errWrong) {
		return err
	}
	// What the informer would log is printed once, from heard.
	ctx, stop := context.WithCancel(logr.NewContext(ctx, logr.Discard()))
	defer stop()
	f := &follower{statusOptions: o, api: api, namespace: namespace, name: name, last: last,
		changed: make(chan struct{}, 1), heard: make(chan error)}
	f.informer = cache.NewSharedIndexInformer(
		&cache.ListWatch{ListWithContextFunc: f.list, WatchFuncWithContext: f.watchStacks},
		&obsv1.ObservabilityStack{}, 0, nil)
	err = errors.Join(
		f.informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}),
		f.listen(),
	)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.informer.RunWithContext(ctx)
	}()
	defer func() { stop(); <-done }()
	return f.loop(ctx)
}

// listen marks every change.
func (f *follower) listen() error {
	_, err := f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f.mark() },
		UpdateFunc: func(any, any) { f.mark() },
		DeleteFunc: func(any) { f.mark() },
	})
	return err
}

func (f *follower) mark() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// settle is how long it waits for more changes before it shows them.
const settle = 200 * time.Millisecond

func (f *follower) loop(ctx context.Context) error {
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-f.heard:
			if err := f.say(err); err != nil {
				return err
			}
		case <-f.changed:
			if settled == nil {
				settled = time.After(settle)
			}
		case <-settled:
			settled = nil
			if !f.informer.HasSynced() {
				f.mark()
				continue
			}
			if err := f.showChange(ctx); err != nil {
				return err
			}
		}
	}
}

// showChange prints what the informer knows, if that is not what was printed last.
func (f *follower) showChange(ctx context.Context) error {
	var stacks []obsv1.ObservabilityStack
	for _, object := range f.informer.GetStore().List() {
		stacks = append(stacks, *object.(*obsv1.ObservabilityStack))
	}
	sortStacks(stacks)
	report := newReports(ctx, f.api, stacks)
	select {
	case <-ctx.Done():
		return nil // The report lacks what was not read any more.
	default:
	}
	if equality.Semantic.DeepEqual(report, f.last) {
		return nil
	}
	f.last = report
	err := f.display(report)
	if errors.Is(err, errWrong) {
		err = nil // It was shown, and may pass.
	}
	return err
}

// say once what is wrong with a watch, until one is granted. It is an error if none ever was,
// because of a right that is missing.
func (f *follower) say(err error) error {
	if err == nil {
		f.watched, f.said = true, ""
		return nil
	}
	if !f.watched && apierrors.IsForbidden(err) {
		return fmt.Errorf("you may not watch ObservabilityStacks in %s: ask for a role that lets you", where(f.namespace))
	}
	if text := readError("ObservabilityStacks", f.namespace, err).Error(); text != f.said {
		f.said = text
		say(f.streams.ErrOut, "%s: trying again", text)
	}
	return nil
}

// hear what came of a request, in the loop.
func (f *follower) hear(ctx context.Context, err error) {
	select {
	case f.heard <- err:
	case <-ctx.Done():
	}
}

// only what is shown.
func (f *follower) only(more ...client.ListOption) []client.ListOption {
	opts := append(more, client.InNamespace(f.namespace))
	if f.name != "" {
		opts = append(opts, client.MatchingFields{metav1.ObjectNameField: f.name})
	}
	return opts
}

func (f *follower) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list := &obsv1.ObservabilityStackList{}
	err := f.api.List(ctx, list, f.only(&client.ListOptions{Raw: &opts, Limit: opts.Limit, Continue: opts.Continue})...)
	if err != nil {
		f.hear(ctx, err)
	}
	return list, err
}

func (f *follower) watchStacks(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	stream, err := f.api.Watch(ctx, &obsv1.ObservabilityStackList{}, f.only(&client.ListOptions{Raw: &opts})...)
	// Before 1.34 an API server may refuse to begin a watch with what there is, and is asked for a
	// list instead.
	if opts.SendInitialEvents == nil || !apierrors.IsInvalid(err) {
		f.hear(ctx, err)
	}
	return stream, err
}
