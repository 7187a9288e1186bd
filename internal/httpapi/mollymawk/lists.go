package mollymawk

import (
	"cmp"
	"slices"
)

func compare(a, b string) int { return cmp.Compare(a, b) }

// instanceView is an instance as the list shows it. Where it is and what is
// wrong with it is for administrators.
type instanceView struct {
	Name    string `json:"name"`
	Online  bool   `json:"online"`
	Server  string `json:"server_ip,omitempty"`
	Port    int32  `json:"server_port,omitempty"`
	Problem string `json:"problem,omitempty"`
}

func (c *call) listInstances() reply {
	all, err := c.options().Instances.Instances(c.ctx(), c.id)
	if err != nil {
		return c.failed(texts{}, err)
	}
	views := make([]instanceView, 0, len(all))
	for _, i := range all {
		view := instanceView{Name: i.Name, Online: i.Online}
		if c.id.SuperUser {
			view.Server, view.Port, view.Problem = i.Host, i.Port, i.Problem
		}
		views = append(views, view)
	}
	slices.SortFunc(views, func(a, b instanceView) int { return compare(a.Name, b.Name) })
	return ok(views)
}

// instancePolicy is a policy with the instance that it is in force on.
type instancePolicy struct {
	Instance string `json:"instance"`
	policyView
}

func (c *call) listPolicies() reply {
	all, err := c.options().Policies.Policies(c.ctx(), c.id)
	if err != nil {
		return c.failed(texts{}, err)
	}
	views := make([]instancePolicy, 0, len(all))
	for _, p := range all {
		views = append(views, instancePolicy{p.Instance, showPolicy(p)})
	}
	slices.SortFunc(views, func(a, b instancePolicy) int {
		return cmp.Or(compare(a.Instance, b.Instance), compare(a.Name, b.Name))
	})
	return ok(views)
}

// listUsers shows all users, without the tokens and sessions of any.
func (c *call) listUsers() reply {
	all, err := c.options().Users.Users(c.ctx())
	if err != nil {
		return c.storageError(err)
	}
	views := make([]userView, 0, len(all))
	for _, p := range all {
		p.Tokens, p.Sessions = nil, nil
		views = append(views, showUser(p))
	}
	return ok(views)
}
