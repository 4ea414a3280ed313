// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/test/testenv"
)

// stampingCase is a Deployment, and what its owner does to it. Its containers are api and web.
type stampingCase struct {
	own, template map[string]string // annotations
	stamp         map[string]string // labels of the template, such as Git has them
	selector      map[string]string // beside that of the app
	release       string            // of the stack
	retried       bool              // by the operator
	// update, if set, is what the owner sends when another version is current: if it is empty, a
	// newer one.
	update  func(*appsv1.Deployment)
	current string
	// want lists the stamp's labels and annotations without their prefix; none if it is empty.
	want string
}

const (
	newer       = "fedcba9876543210"
	wantStamped = "config-hash=0123456789abcdef namespace=NS stack=shop version=0123456789abcdef"
	wantNewer   = "config-hash=fedcba9876543210 namespace=NS stack=shop version=fedcba9876543210"
)

// room is what the annotations of a stamp need.
var room = len(obsv1.StampConfigHash) + len(version)

func dropStamp(d *appsv1.Deployment) {
	template := &d.Spec.Template
	for _, key := range policy.StampLabels {
		delete(template.Labels, key)
	}
	for _, key := range policy.StampAnnotations {
		delete(template.Annotations, key)
	}
}

var stampingCases = map[string]stampingCase{
	"not annotated":     {},
	"annotated":         {own: keys(stackKey, "shop"), want: wantStamped},
	"annotated in full": {own: keys(stackKey, "NS/shop"), want: wantStamped},
	"annotated in its template": {
		own:      keys(stackKey, "other"),
		template: keys(stackKey, "shop"),
		want:     wantStamped,
	},
	"annotated for none": {own: keys(stackKey, "none")},
	"for a project": {
		own:  keys(stackKey, "shop", project, "payments"),
		want: strings.ReplaceAll(wantStamped, version, ofPayments),
	},
	"for the project of its template": {
		own:      keys(stackKey, "shop", project, "none"),
		template: keys(project, "payments"),
		want:     strings.ReplaceAll(wantStamped, version, ofPayments),
	},
	"for an unknown project":    {own: keys(stackKey, "shop", project, "none")},
	"opted out":                 {own: keys(stackKey, "shop", inject, "false")},
	"opted out in its template": {own: keys(stackKey, "shop"), template: keys(inject, "false")},
	"with a choice": {
		own:  keys(stackKey, "shop", choice, "web, api,api"),
		want: strings.Replace(wantStamped, " ", " containers=api,web ", 1),
	},
	"with all": {
		own:  keys(stackKey, "shop", choice, "*"),
		want: strings.Replace(wantStamped, " ", " containers=* ", 1),
	},
	"with a choice that is not there": {own: keys(stackKey, "shop", choice, "none")},
	"with a choice that is not valid": {own: keys(stackKey, "shop", choice, "api,")},
	"with a release": {
		own:     keys(stackKey, "shop"),
		release: "FromImage",
		want:    wantStamped + " workload=api",
	},
	"with a release of its own": {
		own:     keys(stackKey, "shop", noRelease, "false"),
		release: "FromImage",
		want:    wantStamped,
	},
	"with a stamp from Git": {
		own:   keys(stackKey, "shop"),
		stamp: keys(obsv1.StampStack, "other", obsv1.StampVersion, "old"),
		want:  wantStamped,
	},
	"with a choice that is too long": {own: keys(stackKey, "shop", choice, longChoice)},
	// The API server would refuse the workload for what obstack adds.
	"with annotations that leave no room": {own: keys(stackKey, "shop"), template: crowded(keys(), room-2)},
	"with annotations that leave some": {
		own: keys(stackKey, "shop"), template: crowded(keys(), room), want: wantStamped,
	},
	"with a selector of the stamp's labels": {
		own: keys(stackKey, "shop"), selector: keys(obsv1.StampVersion, "old"),
		stamp: keys(obsv1.StampStack, "shop", obsv1.StampVersion, "old"), want: "stack=shop version=old",
	},
	"replaced without stamp, and with annotations that leave no room": {
		own: keys(stackKey, "shop"), update: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Spec.Template.Annotations = crowded(keys(), room-2)
		},
	},
	"changed": {
		own: keys(stackKey, "shop"), want: wantNewer,
		update: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "shop:2" },
	},
	"rolled back to a template without stamp": {
		own: keys(stackKey, "shop"), want: wantNewer, update: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Spec.Template.Annotations = keys("restarted", "yesterday")
		},
	},
	"scaled": {
		own:    keys(stackKey, "shop"),
		want:   wantStamped,
		update: func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) },
	},
	"replaced without stamp": {own: keys(stackKey, "shop"), want: wantStamped, update: dropStamp},
	"replaced with half of a stamp": {
		own:    keys(stackKey, "shop"),
		want:   wantStamped,
		update: func(d *appsv1.Deployment) { delete(d.Spec.Template.Labels, obsv1.StampStack) },
	},
	"with an older stamp from Git": {
		own:    keys(stackKey, "shop"),
		want:   wantStamped,
		update: func(d *appsv1.Deployment) { d.Spec.Template.Labels[obsv1.StampVersion] = "old" },
	},
	"with the wanted stamp from Git": {
		own: keys(stackKey, "shop"), want: wantNewer, update: func(d *appsv1.Deployment) {
			d.Spec.Template.Labels[obsv1.StampVersion], d.Spec.Template.Annotations[obsv1.StampConfigHash] = newer, newer
		},
	},
	"replaced without stamp, where the operator retried": {
		own: keys(stackKey, "shop"), want: strings.Replace(wantStamped, "config", "attempt=1 config", 1),
		retried: true, update: dropStamp, current: version,
	},
	"changed where the operator retried": {
		own: keys(stackKey, "shop"), want: strings.Replace(wantStamped, "config", "attempt=1 config", 1),
		retried: true, current: version,
		update: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "shop:2" },
	},
	// A stack may be pruned and come back, and an annotation be mistyped for a minute.
	"replaced without stamp while its stack is gone": {
		own: keys(stackKey, "shop"), want: wantStamped, update: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Annotations = keys(stackKey, "none")
		},
	},
	"deployed without stamp while its annotation is mistyped": {
		own: keys(stackKey, "shop"), want: wantStamped, update: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Annotations = keys(stackKey, "Shop!")
			d.Spec.Template.Spec.Containers[0].Image = "shop:2"
		},
	},
	"replaced without stamp and without annotation": {
		own: keys(stackKey, "shop"), update: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Annotations = nil
		},
	},
	"replaced without stamp and opted out": {
		own: keys(stackKey, "shop"), update: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Annotations[inject] = "false"
		},
	},
	"annotated later": {
		want: "", update: func(d *appsv1.Deployment) { d.Annotations = keys(stackKey, "shop") },
	},
}

// Stacks of the workload's own namespace can do without the webhooks.
func TestEveryEngineStampsTheSame(t *testing.T) {
	namespaces := engineNamespaces(t, nil)
	inherited := engineNamespaces(t, keys(obsv1.LabelUseStack, "shop"))
	awaitPolicies(t, namespaces["policy"])
	stamps := func(t *testing.T, tc stampingCase, namespace, want string) {
		t.Helper()
		setStack(t, namespace, tc.release, version)
		d := annotatedDeployment(namespace, "api", "")
		d.Annotations, d.Spec.Template.Annotations = replaced(tc.own, namespace), tc.template
		d.Spec.Template.Labels = maps.Clone(d.Spec.Template.Labels) // Not those of the selector.
		maps.Copy(d.Spec.Template.Labels, tc.stamp)
		maps.Copy(d.Spec.Selector.MatchLabels, tc.selector)
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "web", Image: "web"})
		create(t, d)
		if tc.update != nil {
			if tc.retried {
				metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, obsv1.StampAttempt, "1")
				if err := live.Update(t.Context(), d, client.FieldOwner(obsv1.FieldManager)); err != nil {
					t.Fatal(err)
				}
			}
			setStack(t, namespace, tc.release, cmp.Or(tc.current, newer))
			tc.update(d)
			if err := live.Update(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if got := stampOf(d); got != strings.ReplaceAll(want, "NS", namespace) {
			t.Errorf("stamp = %s, want %s", got, want)
		}
		if err := live.Delete(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	for _, engine := range engines {
		for name, tc := range stampingCases {
			t.Run(engine+"/"+name, func(t *testing.T) { stamps(t, tc, namespaces[engine], tc.want) })
		}
		t.Run(engine+"/the names of releases", func(t *testing.T) { testReleaseNames(t, namespaces[engine]) })
		t.Run(engine+"/of the Namespace", func(t *testing.T) { stamps(t, stampingCase{}, inherited[engine], wantStamped) })
	}
}

// testReleaseNames: a release is named for a CronJob, of which its Jobs are made, and for a Job of
// its own; for nothing where the API server makes up a name, which is not known yet.
func testReleaseNames(t *testing.T, namespace string) {
	setStack(t, namespace, obsv1.ReleaseFromImage, version)
	job := batchv1.JobSpec{Template: annotatedDeployment(namespace, "job", "shop").Spec.Template}
	job.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "nightly", Annotations: keys(stackKey, "shop")}
	cron := &batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{
		Schedule: "@daily", JobTemplate: batchv1.JobTemplateSpec{Spec: job},
	}}
	alone, generated := &batchv1.Job{ObjectMeta: meta, Spec: job}, &batchv1.Job{ObjectMeta: meta, Spec: job}
	generated.Name, generated.GenerateName = "", "migrate-"
	for _, of := range []struct {
		client.Object
		template *corev1.PodTemplateSpec
		want     string
	}{
		{cron, &cron.Spec.JobTemplate.Spec.Template, "nightly"},
		{alone, &alone.Spec.Template, "nightly"},
		{generated, &generated.Spec.Template, ""},
	} {
		if err := live.Create(t.Context(), of.Object, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		stamp, _ := policy.StampOf(of.template.Labels, of.template.Annotations)
		if stamp.ConfigHash != version || stamp.Workload != of.want {
			t.Errorf("%T %s%s: the stamp is %+v, want one of %q", of.Object, of.GetName(), of.GetGenerateName(), stamp, of.want)
		}
	}
}

// setStack changes the stack shop, and waits until the API server evaluates policies with it.
func setStack(t *testing.T, namespace, release, version string) {
	t.Helper()
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	refresh(t, stack)
	stack.Spec.Sentry = sentryProjects()
	stack.Spec.Sentry.Release = release
	if err := live.Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	stack.Status.ConfigHash = version
	if err := live.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	testenv.Poll(t, func(ctx context.Context) string {
		d := annotatedDeployment(namespace, "probe", "shop")
		if err := live.Create(ctx, d, client.DryRunAll); err != nil {
			return err.Error()
		}
		stamp, _ := policy.StampOf(d.Spec.Template.Labels, d.Spec.Template.Annotations)
		if stamp.ConfigHash != version || (stamp.Workload != "") != (release != "") {
			return fmt.Sprintf("stamp is %+v", stamp)
		}
		return ""
	})
}

// stampOf lists what of a stamp the template has.
func stampOf(d *appsv1.Deployment) string {
	var all []string
	for _, part := range []map[string]string{d.Spec.Template.Labels, d.Spec.Template.Annotations} {
		for key, value := range part {
			if name, ok := strings.CutPrefix(key, "inject.obstack.dev/"); ok {
				all = append(all, name+"="+value)
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
