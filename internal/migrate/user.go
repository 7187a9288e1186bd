package migrate

import (
	"cmp"
	"errors"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
)

// user declares a user, without what is secret.
func (c *converter) user(stored *StoredUser) Document {
	object := &v1alpha1.User{TypeMeta: typeMeta("User"), ObjectMeta: metav1.ObjectMeta{Name: objectName(stored.Name)}}
	object.Spec.SuperUser, object.Spec.Active = stored.SuperUser, &stored.Active
	d := Document{Object: object}
	if object.Name != stored.Name {
		d.note("Mollymawk calls the user %q, which cannot be the name of an object.", stored.Name)
	}
	namespace, err := c.namespace(albatross.Path{stored.Name})
	if err != nil {
		d.problem("%v.", err)
	} else if namespace != object.Name {
		object.Spec.Namespace = namespace
	}
	setEmail(&d, object, stored.Email)
	for _, key := range []string{"User/" + object.Name, "email/" + strings.ToLower(string(object.Spec.Email))} {
		if _, twice := c.taken[key]; twice {
			d.problem("another user has the same name or e-mail address.")
			break
		}
	}
	_, err = findUser(c.in.Existing, object)
	d.check(!errors.Is(err, errOtherUser), "%v.", err)
	if !d.Applicable() {
		return d
	}
	c.taken["User/"+object.Name], c.taken["email/"+strings.ToLower(string(object.Spec.Email))] = object.Name, object.Name
	if stored.SuperUser {
		d.note("An administrator of the HTTP API.")
	}
	if c.in.Existing == nil {
		d.note("Tokens that are not in this output: %d. Make the User first, and import again with --users.", len(stored.Tokens))
	} else if err != nil {
		d.note("Tokens that are not in this output: %d, since %v. Make the User first, and import again with --users.", len(stored.Tokens), err)
	}
	return d
}

// setEmail takes a mailbox, which may have a name beside the address.
func setEmail(d *Document, object *v1alpha1.User, mailbox string) {
	address, err := mail.ParseAddress(mailbox)
	if err != nil {
		d.problem("its e-mail address %q is not readable.", mailbox)
		return
	}
	object.Spec.Email = v1alpha1.Email(address.Address)
	if name := strings.TrimSpace(address.Name); utf8.RuneCountInString(name) <= maxDisplayName && !strings.ContainsFunc(name, unicode.IsControl) {
		object.Spec.DisplayName = name
	}
	if err := accounts.CheckUser(object); err != nil {
		d.problem("%q, %q: %v.", object.Name, address.Address, err)
	}
}

// Why the User of an account is not known.
var (
	errOtherUser = errors.New("the User of this name in the cluster has another e-mail address; it would become that of somebody else")
	errNoUser    = errors.New("there is no such User in the cluster")
)

// findUser finds the User object of the cluster. One with another address is somebody
// else's.
func findUser(existing []v1alpha1.User, object *v1alpha1.User) (*v1alpha1.User, error) {
	for i := range existing {
		found := &existing[i]
		if found.Name != object.Name {
			continue
		}
		if !strings.EqualFold(string(found.Spec.Email), string(object.Spec.Email)) {
			return nil, errOtherUser
		}
		return found, nil
	}
	return nil, errNoUser
}

// findOwner finds the User object of a user of Mollymawk.
func findOwner(existing []v1alpha1.User, stored *StoredUser) (*v1alpha1.User, error) {
	object := &v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Name: objectName(stored.Name)}}
	setEmail(&Document{Object: object}, object, stored.Email)
	return findUser(existing, object)
}

// account gives the Secret of a User that exists.
func (c *converter) account(user *Document, stored *StoredUser) (d Document, known bool) {
	object, isUser := user.Object.(*v1alpha1.User)
	if !isUser || !user.Applicable() {
		return d, false
	}
	found, err := findUser(c.in.Existing, object)
	if err != nil {
		return d, false
	}
	imported := accounts.Imported{PasswordHash: c.in.PasswordHashes[object.Name], UpdatedAt: stored.UpdatedAt.Time}
	var shared int
	for _, token := range newestFirst(stored.Tokens) {
		if c.tokens[token.Value] {
			shared++
			continue
		}
		imported.Tokens = append(imported.Tokens, token.account())
	}
	for _, token := range imported.Tokens {
		c.tokens[token.Value] = true
	}
	secret, refused, err := imported.Secret(found, c.in.Namespace, c.in.Now)
	if err != nil {
		user.problem("its account: %v.", err)
		return d, false
	}
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	d.Object = secret
	d.note("The account of the user %s (tokens: %d). Apply it once and keep it nowhere: it changes in the cluster, and applied again it brings back what was revoked.",
		object.Name, len(imported.Tokens)-len(refused))
	d.checkTokens(imported.Tokens, refused, shared)
	if imported.PasswordHash == "" {
		d.note("It has no password, so nobody can log in; tokens work. Import with --passwords to make one.")
	}
	return d, true
}

// checkTokens says which tokens are left out.
func (d *Document) checkTokens(tokens []accounts.Token, refused []accounts.Refused, shared int) {
	for _, r := range refused {
		d.note("Left out: the token %q: %v.", tokens[r.Token].Name, r.Err)
	}
	if shared > 0 {
		d.note("Left out: tokens whose values an earlier user has (%d).", shared)
	}
}

func newestFirst(tokens []StoredToken) []StoredToken {
	tokens = slices.Clone(tokens)
	slices.SortStableFunc(tokens, func(a, b StoredToken) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt.Time), cmp.Compare(a.Value, b.Value))
	})
	return tokens
}

// longest is more seconds than any token lives, and fewer than a duration has.
const longest = 7_000_000_000

func (t *StoredToken) account() accounts.Token {
	return accounts.Token{
		Value: t.Value, Name: t.Name, CreatedAt: t.CreatedAt.Time, LastAccess: t.LastAccess.Time, UsageCount: t.UsageCount,
		ExpiresIn: time.Duration(min(max(t.ExpiresIn, -longest), longest)) * time.Second,
	}
}

// reasonOf says how it is about the namespace of a User.
func reasonOf(user *v1alpha1.User) string {
	if c := apimeta.FindStatusCondition(user.Status.Conditions, v1alpha1.ConditionNamespaceReady); c != nil {
		return c.Reason
	}
	return ""
}

// namespaces declares those of tenants. That of a user is the user's only when it
// says so by the UID: the operator makes it for a User that is active, if it is to.
func (c *converter) namespaces(instances []Document) (all []Document) {
	wanted := map[string]*v1alpha1.User{}
	for _, d := range instances {
		for _, tenant := range d.Object.(*v1alpha1.AlbatrossInstance).Spec.Tenants {
			wanted[tenant.Namespace] = nil
		}
	}
	for _, stored := range c.owners {
		namespace, err := c.namespace(albatross.Path{stored.Name})
		if err != nil {
			continue
		}
		delete(wanted, namespace)
		found, err := findOwner(c.in.Existing, &stored)
		if err == nil && slices.Contains([]string{v1alpha1.ReasonNamespaceMissing, v1alpha1.ReasonInactive}, reasonOf(found)) {
			wanted[namespace] = found
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		all = append(all, namespaceDocument(name, wanted[name]))
	}
	return all
}

// namespaceDocument makes it as the operator does.
func namespaceDocument(name string, owner *v1alpha1.User) Document {
	object := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	if owner != nil {
		object.Labels = map[string]string{v1alpha1.LabelUser: owner.Name}
		object.Annotations = map[string]string{v1alpha1.AnnotationUserUID: string(owner.UID)}
	}
	return Document{Object: object}
}
