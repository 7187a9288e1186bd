package controllers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/api/v1alpha1"
)

// maxHistory is how many revisions status keeps.
const maxHistory = 10

// inForce is what shall run: what spec declares, or a revision that was brought
// back.
type inForce struct {
	spec *v1alpha1.UnikernelSpec
	// digest of the image; empty for type bhyve, which has none, and while it is
	// not known.
	digest  string
	version string
	// source names where the image comes from.
	source string
	// revision is set when it is not what spec declares.
	revision *v1alpha1.Revision
}

// revisionInForce is a revision of the history with its configuration.
func revisionInForce(uk *v1alpha1.Unikernel, number string, configs map[int64]revisionConfig) (inForce, error) {
	i := slices.IndexFunc(uk.Status.History, func(r v1alpha1.Revision) bool { return strconv.FormatInt(r.Revision, 10) == number })
	if i < 0 {
		return inForce{}, fmt.Errorf("status.history has no revision %q", number)
	}
	revision := uk.Status.History[i].DeepCopy()
	config, ok := configs[revision.Revision]
	if !ok {
		return inForce{}, fmt.Errorf("the configuration of revision %s is not kept", number)
	}
	return inForce{spec: config.onto(&uk.Spec), digest: revision.Digest, version: revision.Version, source: revision.Source, revision: revision}, nil
}

// revisionAsked gives the revision that shall run instead of what spec declares:
// the user's, or the one that a failed change was rolled back to.
func revisionAsked(uk *v1alpha1.Unikernel) (number string, asked bool) {
	if number = uk.Annotations[v1alpha1.AnnotationRollback]; number != "" {
		return number, true
	}
	if rollback := uk.Status.Rollback; rollback != nil {
		return strconv.FormatInt(rollback.Revision, 10), true
	}
	return "", false
}

func declaredInForce(uk *v1alpha1.Unikernel) inForce {
	f := inForce{spec: &uk.Spec}
	switch image, found := uk.Spec.Image, uk.Status.Image; {
	case image == nil:
	case image.URL != "":
		f.digest, f.source = string(image.SHA256), image.URL
	case image.Stored != nil:
		f.digest, f.source = string(image.Stored.SHA256), sourceText(&image.ContentSource)
	case found != nil:
		f.digest, f.version, f.source = found.Digest, found.Version, found.Source
		if len(found.Arguments) > 0 && len(uk.Spec.Arguments) == 0 {
			f.spec = uk.Spec.DeepCopy()
			f.spec.Arguments = found.Arguments
		}
	}
	return f
}

// declarationHash names what is declared, with the image that a source was found
// to have, so that a change that failed is not tried again while it is the same.
func declarationHash(uk *v1alpha1.Unikernel) string {
	text := strconv.FormatInt(uk.Generation, 10)
	if image := uk.Status.Image; image != nil {
		text = fmt.Sprintf("%s %s %q", text, image.Digest, image.Arguments)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// recordRevision puts what was deployed at the front of the history, unless it
// is what stands there.
func (s *unikernelScope) recordRevision(reason string) {
	st := &s.uk.Status
	next := v1alpha1.Revision{
		Revision: 1, Digest: s.desired.digest, Version: s.inForce.version, Source: s.inForce.source, ConfigHash: s.desired.configHash(),
		Reason: reason, DeployedAt: new(metav1.NewTime(s.now()).Rfc3339Copy()),
	}
	if len(st.History) > 0 {
		if sameRevision(st.History[0], next) {
			return
		}
		next.Revision = st.History[0].Revision + 1
	}
	st.History = trimHistory(append([]v1alpha1.Revision{next}, st.History...), s.inForce.revision)
}

func sameRevision(a, b v1alpha1.Revision) bool {
	return a.Digest == b.Digest && a.ConfigHash == b.ConfigHash
}

// trimHistory keeps the newest revisions, and always the one in force and the last
// good one.
func trimHistory(history []v1alpha1.Revision, inForce *v1alpha1.Revision) []v1alpha1.Revision {
	good := lastGood(history, func(int64) bool { return true })
	needed := func(r v1alpha1.Revision) bool {
		return inForce != nil && r.Revision == inForce.Revision || good != nil && r.Revision == good.Revision
	}
	for len(history) > maxHistory {
		i := len(history) - 1
		for needed(history[i]) {
			i--
		}
		history = slices.Delete(history, i, i+1)
	}
	return history
}

// lastGood gives the newest revision before the first one with which the unikernel
// was ready, which differs from it, and whose configuration is kept.
func lastGood(history []v1alpha1.Revision, kept func(revision int64) bool) *v1alpha1.Revision {
	for i := range history {
		if r := &history[i]; i > 0 && r.Healthy && !sameRevision(*r, history[0]) && kept(r.Revision) {
			return r
		}
	}
	return nil
}
