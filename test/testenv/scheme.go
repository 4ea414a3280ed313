// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Scheme knows the kinds that a control plane serves: Kubernetes' own, ours and
// those of prometheus-operator.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, monitoringv1.AddToScheme, obsv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return scheme
}
