package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"slices"

	"github.com/distinfer/distinfer/server/client"
)

// A front answers texts: with the most probable label, with all of them, or as a stream.
func Example() {
	front := startFront() // usually `distinfer up MODEL`

	ctx := context.Background()
	c, err := client.New(client.Config{URL: front.URL, Retries: 5})
	if err != nil {
		log.Fatal(err)
	}
	label, err := c.Label(ctx, "a moving film")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(label)

	answers, err := c.Predict(ctx, "a moving film", "a waste of time")
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range answers {
		labels, err := a.Labels()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %.1f\n", labels[0].Name, labels[0].Score)
	}

	_, err = c.Stream(ctx, slices.Values([]string{"a moving film", "", "a waste of time"}), func(a client.Answer) error {
		fmt.Println(string(a.JSON), a.Err)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// positive
	// positive 0.9
	// negative 0.8
	// [{"label":"positive","score":0.9},{"label":"negative","score":0.1}] <nil>
	//  the text is empty
	// [{"label":"negative","score":0.8},{"label":"positive","score":0.2}] <nil>
}

// What a front refuses is an Error, which says the status of HTTP.
func ExampleError() {
	front := startFront()

	c, err := client.New(client.Config{URL: front.URL})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Predict(context.Background(), "")
	var refused *client.Error
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		fmt.Println(refused.Message)
	}
	// Output: the text is empty
}
