/* The Pi's kernel that other check programs stand on: what of it is seen is what could be seen of a real one. */

#include <fcntl.h>
#include <unistd.h>

#include "check_program.h"
#include "cleanup.h"
#include "fake_kernel.h"

#define PRODUCT "sys/devices/pci0000:00/usb1/1-1/product"

static struct fake_kernel kernel;

static void setup(void)
{
	fake_kernel_new(&kernel, true);
	fake_kernel_plug(&kernel, "1-1", &FT232R);
}

static void teardown(void)
{
	fake_kernel_free(&kernel);
}

START_TEST(who_reads_an_attribute_while_it_changes_reads_all_of_what_was_there)
{
	_cleanup_close_ int fd = -EBADF;
	char text[64] = "";

	fake_kernel_set(&kernel, "1-1", "product", "what it was\n");
	fd = openat(kernel.tree.fd, PRODUCT, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, text, 3), 3);
	fake_kernel_set(&kernel, "1-1", "product", "new\n");
	ck_assert_int_ge(read(fd, text + 3, sizeof(text) - 4), 0);
	ck_assert_str_eq(text, "what it was\n");
	ck_assert_str_eq(temp_tree_get(&kernel.tree, PRODUCT), "new\n");
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("a kernel for tests");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, who_reads_an_attribute_while_it_changes_reads_all_of_what_was_there);
	return check_program_run("fake_kernel", tests, NULL);
}
