// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/settings"
)

func withEnv(spec *obsv1.ObservabilityStackSpec) {
	if spec.Injection == nil {
		spec.Injection = &obsv1.InjectionSpec{}
	}
	spec.Injection.Env = []obsv1.EnvVar{{Name: "FLAGS", ValueFrom: &obsv1.EnvVarSource{
		ConfigMapKeyRef: &obsv1.ConfigMapKeySelector{Name: "shop", Key: "flags"},
	}}}
}

// flags makes the ConfigMap that withEnv refers to.
func flags(namespace, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}, Data: map[string]string{"flags": value},
	}
}

func accept(t *testing.T, namespace, words string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, obsv1.AnnotationAccept, words)
	if err := live.Patch(t.Context(), ns, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
		t.Fatal(err)
	}
}

// versionOf reads the version with which a Deployment is stamped; nil if it has no stamp.
func versionOf(t *testing.T, stack *obsv1.ObservabilityStack, d *appsv1.Deployment) *corev1.Secret {
	t.Helper()
	refresh(t, d)
	hash := d.Spec.Template.Labels[obsv1.StampVersion]
	if hash == "" {
		return nil
	}
	name := settings.Version{Stack: client.ObjectKeyFromObject(stack), Namespace: d.Namespace, Hash: hash}.Secret()
	version := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	refresh(t, version)
	return version
}

// What a namespace did not accept is in no Secret there.
func TestReconcileGivesVariablesToNamespacesThatAcceptThem(t *testing.T) {
	f := newInjecting(t)
	home, plain, accepting := namespace(t), namespace(t), namespace(t)
	accept(t, accepting, "env")
	create(t, flags(home, "new-basket"))
	stack := settingsStack(t, home, admitAll, withEnv)
	all := map[string]*appsv1.Deployment{}
	for _, in := range []string{home, plain, accepting} {
		all[in] = annotatedDeployment(in, "api", home+"/shop")
		create(t, all[in])
	}
	f.reconcileStack(t, stack)
	wantFlags := func(in, want string) {
		t.Helper()
		version := versionOf(t, stack, all[in])
		if version == nil || string(version.Data["FLAGS"]) != want || string(version.Data["ENVIRONMENT"]) != "production" {
			t.Errorf("the settings in %s are %+v, want FLAGS=%q beside ENVIRONMENT", in, version, want)
		}
		secrets := &corev1.SecretList{}
		if err := live.List(t.Context(), secrets, client.InNamespace(plain)); err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets.Items {
			if _, held := secret.Data["FLAGS"]; held && want == "" {
				t.Errorf("Secret %s in a namespace that accepts no variables holds one", secret.Name)
			}
		}
	}
	wantFlags(home, "new-basket")
	wantFlags(accepting, "new-basket")
	wantFlags(plain, "")
	f.sent.reset()
	f.reconcileStack(t, stack)
	if f.sent.total() > 0 {
		t.Errorf("sent %v and read %v though nothing changed", f.sent.writes, f.sent.reads)
	}
	accept(t, plain, "env")
	f.reconcileStack(t, stack)
	wantFlags(plain, "new-basket")
}

// What a namespace does not accept any more goes from it, also when no stack writes there.
func TestCollectorTakesBackVariablesThatANamespaceNoLongerAccepts(t *testing.T) {
	for name, then := range map[string]func(*testing.T, *injecting, *obsv1.ObservabilityStack){
		"the stack writes": func(*testing.T, *injecting, *obsv1.ObservabilityStack) {},
		"it is suspended": func(t *testing.T, _ *injecting, stack *obsv1.ObservabilityStack) {
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = true })
		},
		"it is gone": func(t *testing.T, _ *injecting, stack *obsv1.ObservabilityStack) {
			if err := live.Delete(t.Context(), stack); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, home, elsewhere := newInjecting(t), namespace(t), namespace(t)
			accept(t, elsewhere, "env")
			create(t, flags(home, "new-basket"))
			stack := settingsStack(t, home, admitAll, withEnv)
			f.reconcileStack(t, stack)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: elsewhere, Name: "alone", Annotations: map[string]string{obsv1.AnnotationStack: home + "/shop"},
			}}
			pod.Spec.Containers = []corev1.Container{{Name: "p", Image: "shop:1.4.2"}}
			create(t, pod)
			f.reconcileStack(t, stack)
			version, own := settingsIn(stack, elsewhere), settingsIn(stack, home)
			if f.collect(t, version); !exists(t, version) {
				t.Fatal("a version that its namespace accepts is gone")
			}
			then(t, f, stack)
			accept(t, elsewhere, "")
			if after := f.collect(t, version); after == 0 || !exists(t, version) {
				t.Fatalf("a version under a running Pod is looked at again after %s, want an hour", after)
			}
			accept(t, elsewhere, "env")
			f.clock = f.clock.Add(time.Hour + time.Minute)
			if f.collect(t, version); !exists(t, version) {
				t.Fatal("a version that its namespace accepts again is gone")
			}
			accept(t, elsewhere, "")
			f.collect(t, version)
			f.clock = f.clock.Add(time.Hour + time.Minute)
			if f.collect(t, version); exists(t, version) {
				t.Error("variables that the namespace does not accept are there after the grace")
			}
			if f.collect(t, own); !exists(t, own) {
				t.Error("the version of the stack's own namespace is gone")
			}
		})
	}
}

func TestReconcileFollowsAConfigMapAndHoldsWithoutIt(t *testing.T) {
	f, home := newInjecting(t), namespace(t)
	stack := settingsStack(t, home, withEnv)
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionFalse, obsv1.ReasonConfigMapNotFound)
	first := flags(home, "old-basket")
	create(t, first)
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	before := stack.Status.ConfigHash
	if err := live.Update(t.Context(), flags(home, "new-basket")); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	if stack.Status.ConfigHash == before {
		t.Error("a ConfigMap that changed brings no new version")
	}
	changed := stack.Status.ConfigHash
	restarted := newFixture(t)
	restarted.reconcileStack(t, stack)
	if len(restarted.sent.reads) > 0 || stack.Status.ConfigHash != changed {
		t.Errorf("after a restart read %v, and the version is %s, want %s", restarted.sent.reads,
			stack.Status.ConfigHash, changed)
	}
	remove(t, first)
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionFalse, obsv1.ReasonConfigMapNotFound)
	if stack.Status.ConfigHash != changed {
		t.Error("a ConfigMap that is gone takes the settings with it")
	}
}

// testDSNOf is a DSN with that key.
func testDSNOf(key string) string { return "https://" + key + "@sentry.example/1" }

// chooseProjects makes a stack of three DSNs, and Deployments that choose a project, or none.
func chooseProjects(t *testing.T, home string,
	chosen ...string) (*obsv1.ObservabilityStack, map[string]*appsv1.Deployment) {
	t.Helper()
	for _, name := range []string{"shop-sentry", "sentry-payments", "sentry-basket"} {
		create(t, secret(home, name, "dsn", testDSNOf("a")))
	}
	stack := settingsStack(t, home, withDSN, func(spec *obsv1.ObservabilityStackSpec) {
		for _, name := range []string{"payments", "basket"} {
			spec.Sentry.Projects = append(spec.Sentry.Projects,
				obsv1.SentryProject{Name: name, DSNFrom: *from("sentry-"+name, "dsn")})
		}
	})
	all := map[string]*appsv1.Deployment{}
	for _, project := range chosen {
		all[project] = annotatedDeployment(home, "api"+project, "shop")
		if project != "" {
			all[project].Annotations[obsv1.AnnotationSentryProject] = project
		}
		create(t, all[project])
	}
	return stack, all
}

func TestReconcileRotatesTheDSNOfOneProject(t *testing.T) {
	f, home := newInjecting(t), namespace(t)
	stack, all := chooseProjects(t, home, "", "payments", "basket")
	f.reconcileStack(t, stack)
	before := map[string]string{}
	for project, d := range all {
		refresh(t, d)
		before[project] = d.ResourceVersion
	}
	if err := live.Update(t.Context(), secret(home, "sentry-payments", "dsn", testDSNOf("b"))); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	for project, want := range map[string]string{"": "a", "payments": "b", "basket": "a"} {
		if got := string(versionOf(t, stack, all[project]).Data["SENTRY_DSN"]); got != testDSNOf(want) {
			t.Errorf("the DSN of project %q is %s", project, got)
		}
		if changed := all[project].ResourceVersion != before[project]; changed != (project == "payments") {
			t.Errorf("the rotation of payments changed the workload of project %q: %t", project, changed)
		}
	}
}

func TestReconcileRefusesAnUnknownProject(t *testing.T) {
	f, home := newInjecting(t), namespace(t)
	stack, all := chooseProjects(t, home, "payment")
	f.reconcileStack(t, stack)
	if version := versionOf(t, stack, all["payment"]); version != nil {
		t.Errorf("an unknown project has the settings %s", version.Name)
	}
	f.reconcileWorkload(t, all["payment"])
	events := strings.Join(f.events(), "\n")
	if !strings.Contains(events, obsv1.ReasonUnknownSentryProject) || !strings.Contains(events, "basket, payments") {
		t.Errorf("events = %s", events)
	}
}

func followsAConfigMap(t *testing.T, stack *obsv1.ObservabilityStack) {
	change(t, stack, withEnv)
	eventuallyCondition(t, stack, obsv1.SettingsReady, obsv1.ReasonConfigMapNotFound)
	create(t, flags(stack.Namespace, "old-basket"))
	for _, want := range []string{"old-basket", "new-basket"} {
		if err := live.Update(t.Context(), flags(stack.Namespace, want)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the version with "+want, func() error {
			refresh(t, stack)
			version := settingsIn(stack, stack.Namespace)
			if err := live.Get(t.Context(), client.ObjectKeyFromObject(version), version); err != nil {
				return err
			}
			if got := string(version.Data["FLAGS"]); got != want {
				return fmt.Errorf("FLAGS = %q", got)
			}
			return nil
		})
	}
}
