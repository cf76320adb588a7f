#include "base/list.h"

#include "fixture.h"

struct item {
    int id;
    struct list at;
};

static void items_leave_from_anywhere_and_twice(void **state)
{
    struct list head;
    struct item items[3] = {{.id = 0}, {.id = 1}, {.id = 2}};
    list_init(&head);
    assert_true(list_is_empty(&head));
    for (int i = 0; i < 3; i++)
        list_add_tail(&head, &items[i].at);
    int expected = 0;
    for (struct list *l = head.next; l != &head; l = l->next)
        assert_int_equal(container_of(l, struct item, at)->id, expected++);
    assert_int_equal(expected, 3);
    list_del(&items[1].at);
    list_del(&items[1].at);
    assert_true(list_is_empty(&items[1].at));
    assert_ptr_equal(head.next, &items[0].at);
    assert_ptr_equal(items[0].at.next, &items[2].at);
    assert_ptr_equal(head.prev, &items[2].at);
    list_del(&items[0].at);
    list_del(&items[2].at);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(items_leave_from_anywhere_and_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
