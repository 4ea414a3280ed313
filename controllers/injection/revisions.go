// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// revision is a ReplicaSet or a ControllerRevision. A template that comes back gets the next
// number.
type revision struct {
	meta   metav1.ObjectMeta
	number int64
}

// revisionAnnotation numbers the ReplicaSets of a Deployment.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// revisions are the newest ones of workloads, by UID: what another one of the same name had before
// says nothing.
type revisions map[types.UID]revision

// newestRevisions of workloads, as the API server has them. One without any has an empty one.
func newestRevisions(ctx context.Context, live client.Reader, of map[policy.Key]types.UID,
	opts ...client.ListOption) (revisions, error) {
	newest := revisions{}
	var deployments, others bool
	for key, uid := range of {
		newest[uid] = revision{}
		deployments = deployments || key.Kind == policy.KindDeployment
		others = others || key.Kind != policy.KindDeployment
	}
	if deployments {
		if err := newest.seeReplicaSets(ctx, live, opts...); err != nil {
			return nil, fmt.Errorf("list ReplicaSets: %w", err)
		}
	}
	if others {
		if err := newest.seeControllerRevisions(ctx, live, opts...); err != nil {
			return nil, fmt.Errorf("list ControllerRevisions: %w", err)
		}
	}
	return newest, nil
}

func (r revisions) seeReplicaSets(ctx context.Context, live client.Reader, opts ...client.ListOption) error {
	empty := func() *metav1.PartialObjectMetadataList {
		return metadata.ListOf(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	}
	for page, err := range metadata.Pages(ctx, live, empty, opts...) {
		if err != nil {
			return err
		}
		for n := range page.Items {
			meta := &page.Items[n].ObjectMeta
			if number, err := strconv.ParseInt(meta.Annotations[revisionAnnotation], 10, 64); err == nil {
				r.see(revision{*meta, number})
			}
		}
	}
	return nil
}

func (r revisions) seeControllerRevisions(ctx context.Context, live client.Reader, opts ...client.ListOption) error {
	empty := func() *appsv1.ControllerRevisionList { return &appsv1.ControllerRevisionList{} }
	for page, err := range metadata.Pages(ctx, live, empty, opts...) {
		if err != nil {
			return err
		}
		for n := range page.Items {
			r.see(revision{page.Items[n].ObjectMeta, page.Items[n].Revision})
		}
	}
	return nil
}

// see one, which may be newer.
func (r revisions) see(found revision) {
	if owner := metav1.GetControllerOf(&found.meta); owner != nil {
		if known, wanted := r[owner.UID]; wanted && found.number > known.number {
			r[owner.UID] = found
		}
	}
}
