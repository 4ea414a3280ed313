// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/config/crd"
	"obstack.dev/obstack/controllers/desired"
)

const (
	// unknown stands for what only the cluster knows.
	unknown = "<unknown>"
	// unknownDSN stands for the value of a Secret while it is rendered: a DSN must look like one.
	unknownDSN = "https://unknown@unknown.invalid/0"
)

// optionalKinds are those of the objects that obstack makes which a cluster may not serve.
var optionalKinds = []schema.GroupVersionKind{
	desired.ServiceMonitorKind, desired.PodMonitorKind, desired.PrometheusRuleKind, desired.GrafanaDashboardKind,
}

type renderOptions struct {
	streams  genericiooptions.IOStreams
	file     string
	platform string
	assume   []string
	image    string
}

func newRender(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := renderOptions{streams: streams}
	command := &cobra.Command{
		Use:   "render -f FILE",
		Short: "Print the objects that obstack would make, without a cluster",
		Long: `Print the objects that obstack would make for the ObservabilityStacks of a file, as YAML. No cluster
is asked: Secrets and ConfigMaps that the stacks name are taken to exist, and what depends on their
values is printed as ` + unknown + `. What the API server would refuse is refused here as well.

What a stack cannot have is said on the standard error, as its conditions would say it, and makes
the exit status 1.`,
		Example: `  kubectl obstack render -f stack.yaml
  kubectl obstack render -f stack.yaml --platform platform.yaml
  kubectl obstack render -f stack.yaml --assume ServiceMonitor,PrometheusRule`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if o.file == "" {
				return usageError{fmt.Errorf("-f is missing: write -f FILE, or -f - for the standard input")}
			}
			namespace := metav1.NamespaceDefault
			if flags.Namespace != nil && *flags.Namespace != "" {
				namespace = *flags.Namespace
			}
			return o.run(namespace)
		},
	}
	command.Flags().StringVarP(&o.file, "filename", "f", "", "file with the stacks, - for the standard input")
	command.Flags().StringVar(&o.platform, "platform", "", "file with the ObservabilityPlatform of the stacks")
	var kinds []string
	for _, kind := range optionalKinds {
		kinds = append(kinds, kind.Kind)
	}
	command.Flags().StringSliceVar(&o.assume, "assume", kinds, "kinds of other operators that the cluster serves")
	command.Flags().Lookup("assume").DefValue = "all" // The list is too long for a line of the help.
	command.Flags().StringVar(&o.image, "exporter-image", defaultExporterImage(),
		"image of the task exporter, as the operator's flag of that name")
	return command
}

// defaultExporterImage is that of the operator of the same version.
func defaultExporterImage() string { return "ghcr.io/obstack/obstack:" + version }

// run renders the stacks of the file; those without a namespace are in the given one.
func (o *renderOptions) run(namespace string) error {
	missing, err := o.missing()
	if err != nil {
		return err
	}
	stacks, err := readStacks(o.streams.In, o.file, namespace)
	if err != nil {
		return err
	}
	platform := desired.Platform{}
	if o.platform != "" {
		if platform, err = readPlatform(o.streams.In, o.platform); err != nil {
			return err
		}
	}
	well := true
	for _, stack := range stacks {
		rendered := render(stack, desired.Inputs{ExporterImage: o.image, Platform: platform, MissingAPIs: missing}, nil)
		for _, problem := range rendered.problems {
			well = false
			say(o.streams.ErrOut, "%s/%s: %s", stack.Namespace, stack.Name, problem)
		}
		for _, object := range rendered.objects {
			if err := printYAML(o.streams.Out, object); err != nil {
				return err
			}
		}
	}
	if !well {
		return errWrong
	}
	return nil
}

// missing are the optional kinds that are not assumed.
func (o *renderOptions) missing() (map[schema.GroupKind]bool, error) {
	missing := map[schema.GroupKind]bool{}
	var known []string
	for _, kind := range optionalKinds {
		known = append(known, kind.Kind)
		missing[kind.GroupKind()] = !slices.Contains(o.assume, kind.Kind)
	}
	for _, kind := range o.assume {
		if !slices.Contains(known, kind) {
			return nil, usageError{fmt.Errorf("--assume=%s: must be some of %s", kind, strings.Join(known, ","))}
		}
	}
	return missing, nil
}

// readStacks reads those of a file. One without a namespace is in the given one. The
// definition checks the name of a stack, and not the namespace, which gets into texts and paths.
func readStacks(in io.Reader, file, namespace string) ([]*obsv1.ObservabilityStack, error) {
	stacks, err := readObjects(in, file, stackKind.Kind, crd.Stacks,
		func() *obsv1.ObservabilityStack { return &obsv1.ObservabilityStack{} })
	for _, stack := range stacks {
		if stack.Namespace == "" {
			stack.Namespace = namespace
		}
		if problems := validation.IsDNS1123Label(stack.Namespace); len(problems) > 0 {
			return nil, fmt.Errorf("%s: %q of ObservabilityStack %q is not the name of a namespace: %s", file,
				stack.Namespace, stack.Name, strings.Join(problems, "; "))
		}
	}
	return stacks, err
}

// readPlatform reads the first one of a file.
func readPlatform(in io.Reader, file string) (desired.Platform, error) {
	platforms, err := readObjects(in, file, "ObservabilityPlatform", crd.Platforms,
		func() *obsv1.ObservabilityPlatform { return &obsv1.ObservabilityPlatform{} })
	if err != nil {
		return desired.Platform{}, err
	}
	return desired.Platform{Name: platforms[0].Name, Spec: &platforms[0].Spec}, nil
}

// rendering is what a stack becomes.
type rendering struct {
	objects []client.Object
	// settings of its workloads.
	settings *desired.Settings
	// held are the components of which everything stays that is there.
	held []string
	// problems are the conditions that are not True.
	problems []string
}

// render does what a pass of the operator does, with nothing of the cluster but the inputs given,
// and of the settings what the workloads of namespaces need. Where the inputs have no value of a
// key, it is taken to exist and to be unknown.
func render(stack *obsv1.ObservabilityStack, in desired.Inputs,
	needed map[string][]desired.Variant) (rendered rendering) {
	effective := desired.Effective(stack, in.Platform.Spec)
	values := maps.Clone(in.Values)
	if values == nil {
		values = map[desired.KeyRef]desired.Value{}
	}
	for _, ref := range desired.Refs(effective) {
		if _, known := values[ref.KeyRef]; !known {
			values[ref.KeyRef] = assumedValue(unknown)
		}
	}
	in.Values, in.Available = values, map[string]bool{}
	for _, name := range desired.ExporterNames(effective) {
		in.Available[name] = true
	}
	in.Settings = desired.NewSettings(effective, in.Values, in.Versions)
	rendered.settings = in.Settings
	for _, component := range desired.Components {
		out := component.Build(effective, in)
		for _, object := range out.Objects {
			object.SetNamespace(stack.Namespace)
			hide(object)
			rendered.objects = append(rendered.objects, object)
		}
		if out.Hold {
			rendered.held = append(rendered.held, component.Name)
		}
		if out.Requested() && out.Status != metav1.ConditionTrue {
			rendered.problems = append(rendered.problems, component.Condition+": "+out.Message)
		}
	}
	for _, secret := range in.Settings.Secrets(needed) {
		if hide(secret) {
			secret.Name = obsv1.SettingsName(stack.Namespace, stack.Name, unknown)
			secret.Labels[obsv1.StampVersion] = unknown
			secret.Annotations[obsv1.AnnotationContent] = unknown
		}
		rendered.objects = append(rendered.objects, secret)
	}
	return rendered
}

// assumedValue is one that exists and is not known.
func assumedValue(revision string) desired.Value {
	return desired.Value{
		Exists: true, KeyExists: true, Value: unknownDSN, Source: desired.Source{Revision: revision, Digest: unknown},
	}
}

// hide what unknown values of Secrets decide; it reports whether there is any of it in a Secret.
func hide(object client.Object) (hidden bool) {
	if annotations := object.GetAnnotations(); annotations[obsv1.AnnotationSources] != "" {
		annotations[obsv1.AnnotationSources] = unknown
	}
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return false
	}
	for key, value := range secret.Data {
		if text := string(value); text == unknownDSN || text == unknown { // Several Secrets may share their data.
			secret.Data[key] = []byte(unknown)
			hidden = true
		}
	}
	return hidden
}

var renderScheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(monitoringv1.AddToScheme(scheme))
	return scheme
}()

// asApplied is an object as it is applied. What is unknown of a Secret is not encoded.
func asApplied(object client.Object) (map[string]any, error) {
	kind, err := apiutil.GVKForObject(object, renderScheme)
	if err != nil {
		return nil, err
	}
	object.GetObjectKind().SetGroupVersionKind(kind)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	if secret, ok := object.(*corev1.Secret); ok {
		data, _ := content["data"].(map[string]any)
		for key, value := range secret.Data {
			if string(value) == unknown {
				data[key] = unknown
			}
		}
	}
	return content, nil
}

func printYAML(out io.Writer, object client.Object) error {
	content, err := asApplied(object)
	if err != nil {
		return err
	}
	text, err := asYAML(content)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "---\n%s", text)
	return err
}
