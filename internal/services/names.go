package services

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"mollymawk.dev/operator/albatross"
)

// label checks the name of a unikernel, volume or instance and gives it in lower
// case, which Albatross does too: so "Web" and "web" are the same. It is one label
// that is also a name of Kubernetes, so it can name neither a path nor anything
// that is not the caller's.
func label(field, name string) (string, error) {
	normal, err := albatross.ParseLabel(name)
	if err != nil {
		return "", &Invalid{field, err.Error()}
	}
	if problems := validation.IsDNS1123Subdomain(normal); len(problems) > 0 {
		return "", &Invalid{field, "a name begins and ends with a letter or digit, and so does each part between dots"}
	}
	return normal, nil
}

// labels checks the names of an instance and of something on it, the instance first.
func labels(instance, field, name string) (onInstance, called string, err error) {
	if onInstance, err = label("instance", instance); err != nil {
		return "", "", err
	}
	called, err = label(field, name)
	return onInstance, called, err
}

// checkIdentity refuses callers who are nobody, whom no check of Kubernetes would
// stand behind.
func checkIdentity(id Identity) error {
	if id.Name == "" || strings.ContainsAny(id.Name, ":/") {
		return ErrForbidden
	}
	return nil
}

// ForNamespace gives an administrator's identity for the things of another
// namespace.
func ForNamespace(id Identity, namespace string) (Identity, error) {
	if !id.SuperUser {
		return Identity{}, ErrForbidden
	}
	if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
		return Identity{}, &Invalid{"namespace", problems[0]}
	}
	id.Namespace = namespace
	return id, nil
}
